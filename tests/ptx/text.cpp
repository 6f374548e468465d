#include "text.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace ptx {

int size_of(Type type) {
    switch (type) {
        case U8:
        case S8:
        case B8: return 1;
        case U16:
        case S16:
        case B16:
        case F16:
        case BF16: return 2;
        case U32:
        case S32:
        case B32:
        case F32:
        case F16X2:
        case BF16X2: return 4;
        case U64:
        case S64:
        case B64:
        case F64: return 8;
        default: return 0;
    }
}

bool is_signed(Type type) { return type == S8 || type == S16 || type == S32 || type == S64; }
bool is_float(Type type) { return type == F32 || type == F64 || type == F16 || type == BF16; }

std::string strip(const std::string &text) {
    const char *const blank = " \t\r\n";
    const size_t first = text.find_first_not_of(blank), last = text.find_last_not_of(blank);
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::vector<std::string> split(const std::string &text, char separator) {
    std::vector<std::string> parts;
    std::string part;
    int depth = 0;
    for (const char c : text) {
        if (strchr("{[(", c)) depth++;
        if (strchr("}])", c)) depth--;
        if (c == separator && depth == 0) {
            parts.push_back(strip(part));
            part.clear();
        } else {
            part += c;
        }
    }
    if (!strip(part).empty()) parts.push_back(strip(part));
    return parts;
}

std::vector<std::string> words(const std::string &text) {
    std::istringstream in(text);
    std::vector<std::string> all;
    std::string word;
    while (in >> word) all.push_back(word);
    return all;
}

bool starts_with(const std::string &text, const char *start) { return text.compare(0, strlen(start), start) == 0; }

bool type_from_name(const std::string &name, Type *type) {
    static const struct {
        const char *name;
        Type type;
    } types[] = {{"u8", U8},   {"s8", S8},     {"b8", B8},       {"u16", U16},      {"s16", S16},
                 {"b16", B16}, {"f16", F16},   {"bf16", BF16},   {"u32", U32},      {"s32", S32},
                 {"b32", B32}, {"f32", F32},   {"u64", U64},     {"s64", S64},      {"b64", B64},
                 {"f64", F64}, {"pred", PRED}, {"f16x2", F16X2}, {"bf16x2", BF16X2}};
    for (const auto &known : types)
        if (name == known.name) {
            *type = known.type;
            return true;
        }
    return false;
}

/* 0f or 0d and the bits in hexadecimal digits. */
static bool float_literal(const std::string &text, char letter, size_t digits, uint64_t *bits) {
    if (text.size() != digits + 2 || text[0] != '0' || tolower(text[1]) != letter) return false;
    *bits = strtoull(text.c_str() + 2, nullptr, 16);
    return true;
}

bool number(const std::string &text, Type type, uint64_t *value) {
    if (text.empty()) return false;
    if (float_literal(text, 'd', 16, value)) return true;
    if (float_literal(text, 'f', 8, value)) {
        if (type != F64) return true;
        const uint32_t bits = (uint32_t)*value;
        float single;
        memcpy(&single, &bits, sizeof single);
        const double wide = (double)single;
        memcpy(value, &wide, sizeof wide);
        return true;
    }
    const bool sign = text[0] == '-' || text[0] == '+';
    if (!isdigit((unsigned char)text[sign ? 1 : 0])) return false;
    char *end;
    *value = text[0] == '-' ? (uint64_t)strtoll(text.c_str(), &end, 0) : strtoull(text.c_str(), &end, 0);
    while (*end == 'U') end++;
    return !*end;
}

Declaration read_declaration(const std::string &text) {
    Declaration found = {"", 0, 0};
    const auto parts = words(text);
    Type type = B8;
    for (size_t i = 0; i < parts.size(); i++) {
        if (parts[i] == ".align") {
            found.align = atoi(parts[++i].c_str());
        } else if (parts[i][0] != '.') {
            found.name = parts[i];
            break;
        } else {
            type_from_name(parts[i].substr(1), &type); /* other words: .shared, .visible, ... */
        }
    }
    int64_t count = 1;
    const size_t bracket = found.name.find('[');
    if (bracket != std::string::npos) {
        count = atoll(found.name.c_str() + bracket + 1);
        found.name.resize(bracket);
    }
    found.bytes = (int)(count * size_of(type));
    if (!found.align) found.align = size_of(type);
    return found;
}

void refuse(const std::string &what, const std::string &where) {
    fflush(stdout);
    fprintf(stderr, "ptx: %s: %s\n", where.c_str(), what.c_str());
    abort();
}

} // namespace ptx
