/* s3_text: the little that is read of S3's answers. Error codes: Amazon S3 API Reference, "Error
 * responses"; what stores really answer was measured with Ceph's gateway and OpenStack's Swift. */
#include "s3_text.h"

#include <string.h>

void s3_append_path(struct buffer *url, struct slice name)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
        if (plain) {
            buffer_append_u8(url, c);
            continue;
        }
        buffer_append_u8(url, '%');
        buffer_append_u8(url, (uint8_t)hex[c >> 4]);
        buffer_append_u8(url, (uint8_t)hex[c & 15]);
    }
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool s3_etag_read(struct slice value, char etag[S3_ETAG_LIMIT + 1])
{
    etag[0] = '\0';
    while (value.size > 0 && is_space(value.data[0]))
        value = slice_of(value.data + 1, value.size - 1);
    while (value.size > 0 && is_space(value.data[value.size - 1]))
        value.size--;
    if (value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"')
        value = slice_of(value.data + 1, value.size - 2);
    if (value.size == 0 || value.size > S3_ETAG_LIMIT)
        return false;
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || (c == '/' && i == 1 && value.data[0] == 'W'))
            return false;
    }
    memcpy(etag, value.data, value.size);
    etag[value.size] = '\0';
    return true;
}

void s3_xml_text(struct slice xml, const char *tag, char *text, size_t limit)
{
    size_t tag_size = strlen(tag), size = 0;
    text[0] = '\0';
    for (size_t i = 0; i + tag_size + 2 <= xml.size; i++) {
        if (xml.data[i] != '<' || memcmp(xml.data + i + 1, tag, tag_size) != 0 ||
            xml.data[i + 1 + tag_size] != '>')
            continue;
        for (i += tag_size + 2; i < xml.size && xml.data[i] != '<' && size < limit; i++) {
            uint8_t c = xml.data[i];
            text[size++] = c >= ' ' && c < 0x7f ? (char)c : '?';
        }
        text[size] = '\0';
        return;
    }
}

static bool is_one_of(const char *code, const char *const *codes)
{
    while (*codes != NULL && strcmp(*codes, code) != 0)
        codes++;
    return *codes != NULL;
}

enum s3_outcome s3_outcome_of(long status, const char *code)
{
    static const char *const again[] = {"RequestTimeout", "SlowDown", "InternalError",
        "ServiceUnavailable", "Throttling", "BandwidthLimitExceeded", NULL};
    static const char *const denied[] = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired",
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", NULL};
    if (status >= 200 && status <= 299)
        return S3_DONE;
    if (status == 412 || status == 409)
        return S3_CONDITION;
    if (status == 501)
        return S3_UNSUPPORTED;
    if (status >= 500 || status == 429 || status == 408 || is_one_of(code, again))
        return S3_AGAIN;
    if (status == 403 || status == 401 || is_one_of(code, denied))
        return S3_DENIED;
    /* Proxies and load balancers have their own 404 pages; only the store's word counts. */
    if (status == 404 && strcmp(code, "NoSuchKey") == 0)
        return S3_ABSENT;
    return S3_REFUSED;
}

const char *s3_hint(const char *code)
{
    static const char *const hints[][2] = {
        {"NoSuchBucket", "the bucket does not exist: make it, or correct s3_bucket"},
        {"InvalidAccessKeyId", "the store does not know this access key"},
        {"SignatureDoesNotMatch", "the secret key does not belong to the access key"},
        {"AccessDenied", "these credentials lack the right to do that"},
        {"ExpiredToken", "the session token is over"},
        {"RequestTimeTooSkewed", "the clock of this machine or of the store is wrong"},
        {"AuthorizationHeaderMalformed", "s3_region is probably wrong"},
        {"PermanentRedirect", "the bucket is at another endpoint: see s3_endpoint and s3_region"},
    };
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strcmp(hints[i][0], code) == 0)
            return hints[i][1];
    }
    return "";
}
