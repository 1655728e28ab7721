/* Any text as a configuration file: parsed, or refused with one printable sentence; what is
 * accepted must be accepted again when it is printed. */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "brain/base.h"
#include "brain/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    char sentence[CONFIG_SENTENCE_LIMIT];
    char *text = malloc(size + 1);

    memcpy(text, data, size);
    text[size] = '\0';
    int status = config_parse(&config, "fuzz.conf", text, sentence);
    free(text);
    assert(status == 0 || status == BRAIN_ECONFIG);
    assert((sentence[0] == '\0') == (status == 0));
    for (const char *p = sentence; *p != '\0'; p++)
        assert(!iscntrl((unsigned char)*p));

    if (status == 0) {
        char *printed = NULL;
        size_t printed_size;
        FILE *out = open_memstream(&printed, &printed_size);
        config_print(&config, out);
        fclose(out);
        config_release(&config);
        status = config_parse(&config, "printed.conf", printed, sentence);
        assert(status == 0);
        free(printed);
    }
    config_release(&config);
    return 0;
}
