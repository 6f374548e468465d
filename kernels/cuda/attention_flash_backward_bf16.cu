/* The backward pass of flash attention in bf16, every formula (attention_flash_backward.h). */
#include "attention_flash_backward.h"

EAB_FLASH_DEFINE_BACKWARD(bf16)
