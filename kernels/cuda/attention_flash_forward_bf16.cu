/* The forward pass of flash attention in bf16, every formula (attention_flash_forward.h). */
#include "attention_flash_forward.h"

EAB_FLASH_DEFINE_FORWARD(bf16)
