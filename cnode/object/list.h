/* list: see brain/list.h. */
#ifndef BRAIN_OBJECT_LIST_H
#define BRAIN_OBJECT_LIST_H

#include "brain/list.h"

#endif
