/* aws_credentials: the keys that requests are signed with, from the places where AWS's own tools
 * look: configuration, environment, ~/.aws/credentials. None of them is ever logged. */
#ifndef WAREHOUSE_AWS_CREDENTIALS_H
#define WAREHOUSE_AWS_CREDENTIALS_H

#include "brain/warehouse.h"
#include "driver.h"

enum { AWS_KEY_LIMIT = 255, AWS_TOKEN_LIMIT = 8191, AWS_PROFILE_LIMIT = 127 };

struct aws_credentials {
    char access_key[AWS_KEY_LIMIT + 1];
    char secret_key[AWS_KEY_LIMIT + 1];
    char session_token[AWS_TOKEN_LIMIT + 1]; /* "": none */
};

/* Reads one profile of a credentials file (INI: [profile], key = value, # and ; comments). Pure.
 * 0, BRAIN_ENOENT when the profile or one of its two keys is not there, BRAIN_ETOOBIG when a value
 * is too long. `*credentials` is set only with 0. */
int aws_credentials_parse(
    struct slice text, const char *profile, struct aws_credentials *credentials);

/* Where they come from. */
struct aws_source {
    struct aws_credentials current;
    char file[4096]; /* "": configuration or environment, which do not change */
    char profile[AWS_PROFILE_LIMIT + 1];
};

/* Chooses the source and reads it. 0, or BRAIN_ECONFIG with a sentence. */
int aws_source_open(
    struct aws_source *source, const struct s3_options *options, char why[WAREHOUSE_TEXT]);

/* Reads the file again. Are there other credentials than before? */
bool aws_source_refresh(struct aws_source *source);

/* Wipes the keys. */
void aws_source_close(struct aws_source *source);

#endif
