/* Names: registers, constants, variables and their addresses. */
#include "compiler.h"

#include <cctype>
#include <cstdlib>

namespace ptx {

/* Constants of one value share a place. */
Operand Compiler::constant(uint64_t value, bool wide) {
    Operand operand;
    operand.file = wide ? CONSTANT64 : CONSTANT32;
    if (wide) {
        const auto known = known64.emplace(value, (int)(function->constants64.size() / 32));
        operand.index = known.first->second;
        if (known.second) function->constants64.insert(function->constants64.end(), 32, value);
    } else {
        const auto known = known32.emplace((uint32_t)value, (int)(function->constants32.size() / 32));
        operand.index = known.first->second;
        if (known.second) function->constants32.insert(function->constants32.end(), 32, (uint32_t)value);
    }
    return operand;
}

Operand Compiler::address_of(const Variable &variable, int64_t offset, bool wide) {
    if (!variable.dynamic) return constant((uint64_t)(variable.address + offset), wide);
    Operand operand; /* a constant of its own, which the launch sets */
    operand.file = wide ? CONSTANT64 : CONSTANT32;
    if (wide) {
        operand.index = (int)(function->constants64.size() / 32);
        function->constants64.insert(function->constants64.end(), 32, 0);
    } else {
        operand.index = (int)(function->constants32.size() / 32);
        function->constants32.insert(function->constants32.end(), 32, 0);
    }
    function->dynamic_addresses.push_back({operand, offset});
    return operand;
}

Operand Compiler::fresh_register(Type type) {
    Operand operand;
    if (type == PRED) {
        operand.file = PREDICATE;
        operand.index = function->count_predicates++;
    } else if (size_of(type) == 8) {
        operand.file = REGISTER64;
        operand.index = function->count64++;
    } else {
        operand.file = REGISTER32;
        operand.narrow = size_of(type) <= 2;
        operand.index = function->count32++;
    }
    return operand;
}

Operand Compiler::special_register(const std::string &name) {
    static const char *const names[SPECIALS] = {"%tid.x",    "%tid.y",    "%tid.z",   "%ntid.x",  "%ntid.y",
                                                "%ntid.z",   "%ctaid.x",  "%ctaid.y", "%ctaid.z", "%nctaid.x",
                                                "%nctaid.y", "%nctaid.z", "%laneid",  "%warpid"};
    for (int special = 0; special < SPECIALS; special++) {
        if (name != names[special]) continue;
        if (function->special[special] < 0) function->special[special] = function->count32++;
        Operand operand;
        operand.file = REGISTER32;
        operand.index = function->special[special];
        return operand;
    }
    refuse_here("unknown register " + name);
}

bool Compiler::find_register(const std::string &name, Operand *found) const {
    for (size_t i = scopes.size(); i-- > 0;) {
        const auto at = scopes[i].registers.find(name);
        if (at == scopes[i].registers.end()) continue;
        *found = at->second;
        return true;
    }
    return false;
}

const Variable *Compiler::find_variable(const std::string &name) {
    for (size_t i = scopes.size(); i-- > 0;) {
        const auto at = scopes[i].variables.find(name);
        if (at != scopes[i].variables.end()) return &at->second;
    }
    const auto argument = arguments.find(name);
    if (argument != arguments.end()) return &argument->second;
    const auto global = globals.find(name);
    if (global == globals.end()) return nullptr;
    const Variable &variable = global->second;
    if (variable.space != SHARED || variable.dynamic) return &variable;
    return &(scopes[0].variables[name] = place_shared(variable.align, variable.bytes));
}

/* A source operand of an instruction that reads it as `type`. */
Operand Compiler::source(std::string text, Type type) {
    Operand operand;
    const bool wide = size_of(type) == 8;
    text = strip(text);
    const bool negate = text[0] == '!';
    if (negate) text = text.substr(1);
    if (find_register(text, &operand)) {
        operand.negate = negate;
        return operand;
    }
    uint64_t value;
    if (number(text, type, &value)) {
        if (type == PRED) return constant(value != 0, false);
        return constant(size_of(type) == 2 ? value & 0xFFFF : value, wide);
    }
    if (text == "WARP_SZ") return constant(32, wide);
    if (text[0] == '%') return special_register(text);
    const size_t plus = text.find('+'); /* a variable's address */
    const Variable *const variable = find_variable(strip(text.substr(0, plus)));
    if (!variable) refuse_here("unknown operand " + text);
    const int64_t offset = plus == std::string::npos ? 0 : strtoll(text.c_str() + plus + 1, nullptr, 0);
    return address_of(*variable, offset, wide);
}

Operand Compiler::target(const std::string &text) {
    Operand operand;
    if (strip(text) == "_") return operand;
    if (!find_register(strip(text), &operand)) refuse_here("unknown register " + text);
    return operand;
}

/* "[base+offset]" becomes the next source and the instruction's offset. */
void Compiler::address(Instruction &instruction, const std::string &bracketed) {
    std::string inside = strip(bracketed);
    if (inside.front() != '[' || inside.back() != ']') refuse_here("not an address: " + bracketed);
    inside = strip(inside.substr(1, inside.size() - 2));
    const size_t plus = inside.find('+');
    const std::string base = strip(inside.substr(0, plus));
    instruction.offset = plus == std::string::npos ? 0 : strtoll(inside.c_str() + plus + 1, nullptr, 0);
    Operand operand;
    uint64_t value;
    if (find_register(base, &operand)) {
        instruction.from.push_back(operand);
    } else if (number(base, U64, &value)) {
        instruction.from.push_back(constant(value, true));
    } else {
        const Variable *const variable = find_variable(base);
        if (!variable) refuse_here("unknown address " + base);
        if (variable->space == LOCAL && instruction.space == PARAM) instruction.space = LOCAL; /* of a call */
        instruction.from.push_back(address_of(*variable, 0, true));
    }
}

/* ".reg .b32 %r<10>" declares %r0 to %r9; ".reg .b32 a, b" two registers. */
void Compiler::declare_registers(const std::string &text) {
    const std::string name = words(text).at(1);
    Type type;
    if (!type_from_name(name.substr(1), &type)) refuse_here("unknown type " + name);
    for (const std::string &declared : split(text.substr(text.find(name) + name.size()), ',')) {
        auto &registers = scopes.back().registers;
        const size_t angle = declared.find('<');
        if (angle == std::string::npos) {
            registers[declared] = fresh_register(type);
            continue;
        }
        const int count = atoi(declared.c_str() + angle + 1);
        for (int i = 0; i < count; i++) registers[declared.substr(0, angle) + std::to_string(i)] = fresh_register(type);
    }
}

static int aligned(int cursor, int align) { return (cursor + align - 1) / align * align; }

Variable Compiler::place(int *cursor, Space space, int align, int bytes) {
    *cursor = aligned(*cursor, align);
    const Variable variable = {space, *cursor, false};
    *cursor += bytes;
    return variable;
}

/* Guard zones between the arrays show accesses past an array's end. They are multiples of the banks' 128 bytes, so that
 * the banks stay those of a device. */
Variable Compiler::place_shared(int align, int bytes) {
    const int guard = 256;
    const int before = function->shared_bytes;
    function->shared_bytes = aligned(before, align) + bytes;
    const int cursor = function->shared_extent + function->shared_bytes - bytes - before + guard;
    function->shared_extent = cursor + bytes;
    function->shared_variables.push_back({cursor, bytes});
    return {SHARED, cursor, false};
}

void Compiler::declare_variable(const std::string &text) {
    const Declaration declared = read_declaration(text);
    Variable &variable = scopes.back().variables[declared.name];
    if (starts_with(text, ".shared")) variable = place_shared(declared.align, declared.bytes);
    else if (starts_with(text, ".local") || starts_with(text, ".param")) /* .param: of a call */
        variable = place(&function->local_bytes, LOCAL, declared.align, declared.bytes);
    else refuse_here("unknown declaration");
}

} // namespace ptx
