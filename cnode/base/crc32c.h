/* The ways to compute CRC-32C, for their test: all must agree. The rest of the project calls
 * crc32c() of brain/base.h. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "brain/base.h"

/* Both continue from `crc` and invert at both ends, as crc32c() does. */
uint32_t crc32c_by_table(uint32_t crc, struct slice bytes);

/* With the processor's instruction. Only where crc32c_has_instruction(). */
uint32_t crc32c_by_instruction(uint32_t crc, struct slice bytes);
bool crc32c_has_instruction(void);

#endif
