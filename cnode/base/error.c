#include "brain/error.h"

const char *error_sentence(int error)
{
    switch (error) {
#define BRAIN_ERROR_SENTENCE(name, value, atom, sentence)                                          \
    case name:                                                                                     \
        return sentence;
        BRAIN_ERRORS(BRAIN_ERROR_SENTENCE)
    default:
        return "unknown error";
    }
}

const char *error_atom(int error)
{
    switch (error) {
#define BRAIN_ERROR_ATOM(name, value, atom, sentence)                                              \
    case name:                                                                                     \
        return atom;
        BRAIN_ERRORS(BRAIN_ERROR_ATOM)
    default:
        return "unknown";
    }
}
