/* The backward pass of flash attention in fp16, every formula (attention_flash_backward.h). */
#include "attention_flash_backward.h"

EAB_FLASH_DEFINE_BACKWARD(f16)
