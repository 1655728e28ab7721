/* The probe against models of stores: what it finds out, and that it always comes to an end. */
#include "s3_probe.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

enum form { QUOTED, BARE, BOTH };

/* A store with one object. */
struct model {
    bool create, replace, remove; /* honours the condition */
    bool unsupported;             /* answers conditions with 501 */
    enum form form;
    unsigned bad;   /* requests that are answered with `badly` first; they are applied or not */
    bool both_lose; /* only creates are */
    enum s3_outcome badly;
    bool applied;
    bool exists;
    unsigned body;
};

static bool holds(const struct model *model, const struct s3_probe_call *call)
{
    char etag[16];
    snprintf(etag, sizeof(etag), "e%u", model->body);
    if (call->condition == S3_IF_NONE)
        return !model->create || !model->exists;
    if (call->condition == S3_ALWAYS || !(call->remove ? model->remove : model->replace))
        return true;
    return model->exists && strcmp(call->etag, etag) == 0 &&
           (model->form == BOTH || call->quoted == (model->form == QUOTED));
}

static struct s3_probe_answer serve(struct model *model, const struct s3_probe_call *call)
{
    struct s3_probe_answer answer = {.outcome = S3_DONE};
    bool is_bad = model->bad > 0 && (!model->both_lose || call->condition == S3_IF_NONE);
    if (is_bad)
        model->bad--;
    if (is_bad && !model->applied) {
        answer.outcome = model->badly;
        return answer;
    }
    if (call->condition != S3_ALWAYS && model->unsupported)
        answer.outcome = S3_UNSUPPORTED;
    else if (!holds(model, call))
        answer.outcome = S3_CONDITION;
    if (answer.outcome == S3_DONE) {
        model->exists = !call->remove;
        model->body = call->body;
        if (!call->remove)
            snprintf(answer.etag, sizeof(answer.etag), "e%u", call->body);
    }
    if (is_bad)
        answer = (struct s3_probe_answer){.outcome = model->badly};
    return answer;
}

static struct s3_probe run(struct model *model)
{
    struct s3_probe probe;
    struct s3_probe_call calls[2];
    struct s3_probe_answer answers[2];
    unsigned count, steps = 0;
    s3_probe_init(&probe);
    while ((count = s3_probe_calls(&probe, calls)) > 0) {
        ck_assert_uint_lt(steps++, 100);
        if (count == 2)
            ck_assert_uint_ne(calls[0].body, calls[1].body);
        for (unsigned i = 0; i < count; i++)
            answers[i] = serve(model, &calls[i]);
        s3_probe_answer(&probe, answers);
    }
    ck_assert(probe.step == S3_PROBE_OVER || probe.step == S3_PROBE_FAILED);
    return probe;
}

static void expect(struct model model, bool create, bool replace, bool remove, bool quoted)
{
    struct s3_probe probe = run(&model);
    ck_assert_int_eq(probe.step, S3_PROBE_OVER);
    ck_assert_int_eq(probe.ability.create, create);
    ck_assert_int_eq(probe.ability.replace, replace);
    ck_assert_int_eq(probe.ability.remove, remove);
    ck_assert_int_eq(probe.ability.quoted, quoted);
    ck_assert(!model.exists);
    ck_assert(!probe.left);
}

static const struct model full = {.create = true, .replace = true, .remove = true, .form = BOTH};

START_TEST(kinds)
{
    struct model model = full;
    expect(model, true, true, true, true);
    model.form = QUOTED;
    expect(model, true, true, true, true);
    model.form = BARE; /* as Ceph, which also deletes whatever the condition */
    expect(model, true, true, true, false);
    model.remove = false;
    expect(model, true, true, false, false);
    model = full;
    model.replace = false; /* ignores If-Match */
    expect(model, true, false, false, true);
    model = full;
    model.create = false; /* ignores If-None-Match: nothing can be relied on */
    expect(model, false, false, false, true);
    model = full;
    model.unsupported = true;
    expect(model, false, false, false, true);
}
END_TEST

START_TEST(trouble_that_passes)
{
    /* Whatever goes wrong a few times, applied or not, changes nothing of what is found out. */
    for (unsigned bad = 1; bad <= 3; bad++) {
        for (int applied = 0; applied < 2; applied++) {
            struct model model = full;
            model.form = BARE;
            model.bad = bad;
            model.applied = applied;
            model.badly = S3_AGAIN;
            expect(model, true, true, true, false);
        }
    }
    /* Both of a pair lose a few times. */
    struct model model = full;
    model.both_lose = true;
    model.bad = 6;
    model.badly = S3_CONDITION;
    expect(model, true, true, true, true);
}
END_TEST

START_TEST(trouble_that_stays)
{
    struct model model = full;
    model.bad = 1000;
    model.badly = S3_AGAIN;
    struct s3_probe probe = run(&model);
    ck_assert_int_eq(probe.step, S3_PROBE_FAILED);
    ck_assert(probe.again);
    static const enum s3_outcome useless[] = {S3_DENIED, S3_REFUSED};
    for (size_t i = 0; i < 2; i++) {
        model.bad = 1000;
        model.badly = useless[i];
        probe = run(&model);
        ck_assert_int_eq(probe.step, S3_PROBE_FAILED);
        ck_assert(!probe.again);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("s3_probe");
    TCase *tcase = tcase_create("probe");
    tcase_add_test(tcase, kinds);
    tcase_add_test(tcase, trouble_that_passes);
    tcase_add_test(tcase, trouble_that_stays);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
