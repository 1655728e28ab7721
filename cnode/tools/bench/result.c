#include "result.h"

#include <errno.h>
#include <string.h>

#include "protocol.h"

static double quantile_us(const struct histogram *histogram, double quantile)
{
    return (double)histogram_quantile(histogram, quantile) / 1e3;
}

static double least_us(const struct histogram *histogram)
{
    return histogram->count != 0 ? (double)histogram->least / 1e3 : 0;
}

static double each(const struct result *result, double total)
{
    return result->operations != 0 ? total / (double)result->operations : 0;
}

static double per_second(const struct result *result, double total)
{
    return result->seconds > 0 ? total / result->seconds : 0;
}

void result_print(const struct result *result, const struct options *options, FILE *out)
{
    const struct histogram *latency = result->latency;
    fprintf(out, "%s %s, %llu B", options->protocol->name, work_name(options->work),
        (unsigned long long)options->size);
    fprintf(out, ", %llu keys %s, %u connection%s x %u in flight",
        (unsigned long long)options->keys, distribution_name(options->distribution),
        options->connections, options->connections == 1 ? "" : "s", options->in_flight);
    fprintf(out,
        "\n%.0f operations/s, %.1f MB/s of values; %llu operations in %.2f s, %llu wrong\n",
        per_second(result, (double)result->operations),
        per_second(result, (double)result->value_bytes) / 1e6,
        (unsigned long long)result->operations, result->seconds,
        (unsigned long long)result->errors);
    fprintf(out,
        "latency in us: least %.1f, mean %.1f, p50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, "
        "most %.1f\n",
        least_us(latency), histogram_mean(latency) / 1e3, quantile_us(latency, 0.5),
        quantile_us(latency, 0.9), quantile_us(latency, 0.99), quantile_us(latency, 0.999),
        (double)latency->most / 1e3);
    if (options->rate > 0)
        fprintf(out, "sent behind their time: mean %.1f us, most %.1f us (within the latency)\n",
            result->late_mean_us, result->late_most_us);
    fprintf(out, "CPU in us per operation: client %.3f", each(result, result->client_cpu_us));
    if (result->has_server)
        fprintf(out, ", server %.3f", each(result, result->server_cpu_us));
    if (result->server_rss != 0)
        fprintf(out, "; server's memory %.1f MB, before %.1f MB", (double)result->server_rss / 1e6,
            (double)result->server_rss_before / 1e6);
    fputc('\n', out);
}

static void print_latency(const struct histogram *latency, FILE *out)
{
    fprintf(out,
        "\"latency_us\":{\"min\":%.3f,\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,"
        "\"p999\":%.3f,\"max\":%.3f},",
        least_us(latency), histogram_mean(latency) / 1e3, quantile_us(latency, 0.5),
        quantile_us(latency, 0.9), quantile_us(latency, 0.99), quantile_us(latency, 0.999),
        (double)latency->most / 1e3);
}

static void print_json(const struct result *result, const struct options *options, FILE *out)
{
    fprintf(out,
        "{\"protocol\":\"%s\",\"peer\":%s,\"work\":\"%s\",\"acknowledged\":%s,\"size\":%llu,"
        "\"keys\":%llu,\"id_bytes\":%u,\"distribution\":\"%s\",\"connections\":%u,"
        "\"in_flight\":%u,",
        options->protocol->name,
        !options->protocol->is_erlang ? "null"
        : options->peer_is_ei         ? "\"ei\""
                                      : "\"beam\"",
        work_name(options->work), options->acknowledged ? "true" : "false",
        (unsigned long long)options->size, (unsigned long long)options->keys, options->id_bytes,
        distribution_name(options->distribution), options->connections, options->in_flight);
    if (options->rate > 0)
        fprintf(out, "\"rate_asked\":%.3f,\"sent_late_us\":{\"mean\":%.3f,\"max\":%.3f},",
            options->rate, result->late_mean_us, result->late_most_us);
    else
        fputs("\"rate_asked\":null,", out);
    fprintf(out, "\"seconds\":%.6f,\"operations\":%llu,\"throughput\":%.3f,\"errors\":%llu,",
        result->seconds, (unsigned long long)result->operations,
        per_second(result, (double)result->operations), (unsigned long long)result->errors);
    print_latency(result->latency, out);
    fprintf(out, "\"client_cpu_us\":%.6f,", each(result, result->client_cpu_us));
    if (result->has_server)
        fprintf(out, "\"server_cpu_us\":%.6f,", each(result, result->server_cpu_us));
    else
        fputs("\"server_cpu_us\":null,", out);
    if (result->server_rss != 0)
        fprintf(out, "\"server_rss_bytes\":%llu,\"server_rss_before_bytes\":%llu,",
            (unsigned long long)result->server_rss, (unsigned long long)result->server_rss_before);
    else
        fputs("\"server_rss_bytes\":null,\"server_rss_before_bytes\":null,", out);
    fprintf(out, "\"bytes_per_second\":%.1f}\n", per_second(result, (double)result->value_bytes));
}

int result_write_json(const struct result *result, const struct options *options)
{
    bool standard = strcmp(options->json, "-") == 0;
    errno = 0;
    FILE *out = standard ? stdout : fopen(options->json, "we");
    if (out == NULL)
        return errno;
    print_json(result, options, out);
    int error = fflush(out) != 0 || ferror(out) ? (errno != 0 ? errno : EIO) : 0;
    if (!standard && fclose(out) != 0 && error == 0)
        error = errno;
    return error;
}
