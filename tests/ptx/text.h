/* Pieces of text, for the reader of PTX. */
#ifndef EAB_TESTS_PTX_TEXT_H
#define EAB_TESTS_PTX_TEXT_H

#include <cstdint>
#include <string>
#include <vector>

#include "instruction.h"

namespace ptx {

std::string strip(const std::string &text);
/* At the separators outside brackets; the parts are stripped. */
std::vector<std::string> split(const std::string &text, char separator);
std::vector<std::string> words(const std::string &text);
bool starts_with(const std::string &text, const char *start);

bool type_from_name(const std::string &name, Type *type);
/* A literal of PTX: decimal, hexadecimal, 0f........ and 0d................ (bits of a float). */
bool number(const std::string &text, Type type, uint64_t *value);

/* A variable's declaration, such as ".shared .align 16 .b8 name[2048]". */
struct Declaration {
    std::string name;
    int align, bytes;
};
Declaration read_declaration(const std::string &text);

/* Ends the process: PTX that the interpreter does not know must not pass unnoticed. */
[[noreturn]] void refuse(const std::string &what, const std::string &where);

} // namespace ptx

#endif
