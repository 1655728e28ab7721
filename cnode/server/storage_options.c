#include "storage_options.h"

struct store_options storage_store_options(const struct config *config)
{
    return (struct store_options){
        .key_ttl_ms = config->key_ttl,
        .wait_timeout_ms = config->server_exec_timeout,
        .dumps_parallel = (uint32_t)config->dumps_parallel,
        .dumps_parallel_bytes = config->dumps_parallel_bytes,
        .retry_min_ms = config->dump_retry_min,
        .retry_max_ms = config->dump_retry_max,
        .max_dirty_ms = config->max_dirty_ms,
        .memory_limit_bytes = config->memory_limit,
        .breaker_failures = (uint32_t)config->dump_breaker_failures,
    };
}

struct warehouse_options storage_warehouse_options(const struct config *config)
{
    return (struct warehouse_options){
        .manager = config->warehouse_manager,
        .data_dir = config->data_dir,
        .map_bytes = config->local_map_size,
        .value_limit_bytes = config->max_object_bytes,
        .patience_ms = config->server_exec_timeout,
        .s3 =
            {
                .endpoint = config->s3_endpoint,
                .region = config->s3_region,
                .bucket = config->s3_bucket,
                .prefix = config->s3_prefix,
                .path_style = config->s3_path_style,
                .ca_file = config->s3_ca_file,
                .access_key = config->s3_access_key,
                .secret_key = config->s3_secret_key,
                .session_token = config->s3_session_token,
                .profile = config->s3_profile,
                .parallel = (uint32_t)config->s3_parallel,
                .timeout_ms = config->s3_timeout,
                .connect_timeout_ms = config->s3_connect_timeout,
                .stall_timeout_ms = config->s3_stall_timeout,
                .require_conditions = config->s3_require_conditions,
            },
        .ftp =
            {
                .host = config->ftp_host,
                .port = (uint32_t)config->ftp_port,
                .user = config->ftp_user,
                .pass = config->ftp_pass,
                .dir = config->ftp_dir,
                .tls = config->ftp_tls,
                .ca_file = config->ftp_ca_file,
                .parallel = (uint32_t)config->ftp_parallel,
                .timeout_ms = config->ftp_timeout,
            },
    };
}
