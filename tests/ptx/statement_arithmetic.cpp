/* Statements that compute: arithmetic, moves and conversions, bits. */
#include "compiler.h"

#include <cstdlib>

namespace ptx {

bool Compiler::arithmetic_statement(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const std::string &base = parsed.base;
    const bool real = is_float(instruction.type);
    static const struct {
        const char *name;
        Op integer, real; /* UNKNOWN: there is none */
        size_t sources;
    } simple[] = {
        {"add", ADD, ADD_F, 2},   {"addc", ADD, UNKNOWN, 2}, {"sub", SUB, SUB_F, 2},     {"subc", SUB, UNKNOWN, 2},
        {"div", DIV, DIV_F, 2},   {"rem", REM, UNKNOWN, 2},  {"min", MIN, MIN_F, 2},     {"max", MAX, MAX_F, 2},
        {"abs", ABS, ABS_F, 1},   {"neg", NEG, NEG_F, 1},    {"fma", UNKNOWN, FMA, 3},   {"ex2", UNKNOWN, EX2, 1},
        {"lg2", UNKNOWN, LG2, 1}, {"rcp", UNKNOWN, RCP, 1},  {"sqrt", UNKNOWN, SQRT, 1}, {"rsqrt", UNKNOWN, RSQRT, 1}};
    instruction.carry_in = base == "addc" || base == "subc" || base == "madc";
    if (base == "add" || base == "sub" || base == "mad" || instruction.carry_in)
        instruction.carry_out = parsed.take("cc");
    for (const auto &known : simple) {
        if (base != known.name) continue;
        const Op op = real ? known.real : known.integer;
        if (op == UNKNOWN) refuse_here("not of this type");
        plain(parsed, op, known.sources);
        return true;
    }
    if (base == "mul") {
        if (real) plain(parsed, MUL_F, 2);
        else if (parsed.take("lo")) plain(parsed, MUL_LO, 2);
        else if (parsed.take("hi")) plain(parsed, MUL_HI, 2);
        else if (parsed.take("wide")) plain(parsed, MUL_WIDE, 2);
        else refuse_here("which half?");
    } else if (base == "mad" || base == "madc") {
        if (real) plain(parsed, FMA, 3);
        else if (parsed.take("lo")) plain(parsed, MAD_LO, 3);
        else if (parsed.take("hi")) plain(parsed, MAD_HI, 3);
        else refuse_here("which half?");
    } else {
        return false;
    }
    return true;
}

void Compiler::compare_statement(Parsed &parsed) {
    static const struct {
        const char *name;
        Compare compare;
    } compares[] = {{"eq", EQ},   {"ne", NE},   {"lt", LT},   {"le", LE},   {"gt", GT},   {"ge", GE},
                    {"lo", LT},   {"ls", LE},   {"hi", GT},   {"hs", GE},   {"ltu", LTU}, {"leu", LEU},
                    {"gtu", GTU}, {"geu", GEU}, {"equ", EQU}, {"neu", NEU}, {"num", NUM}, {"nan", NOT_A_NUMBER}};
    bool known = false;
    for (const auto &c : compares)
        if (parsed.take(c.name)) {
            parsed.instruction.compare = c.compare;
            known = true;
        }
    if (!known) refuse_here("unknown comparison");
    plain(parsed, SETP, 2);
}

bool Compiler::move_statement(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const auto &operands = parsed.operands;
    const Type type = instruction.type;
    if (parsed.base == "mov") {
        const auto to = elements(operands.at(0)), from = elements(operands.at(1));
        if (to.size() == 1 && from.size() == 1) {
            plain(parsed, MOV, 1);
            return true;
        }
        instruction.op = to.size() > 1 ? MOV_UNPACK : MOV_PACK;
        const Type part = from.size() == 1 ? type : size_of(type) / from.size() == 4 ? B32 : B16;
        for (const auto &text : to) instruction.to.push_back(target(text));
        for (const auto &text : from) instruction.from.push_back(source(text, part));
    } else if (parsed.base == "setp") {
        compare_statement(parsed);
    } else if (parsed.base == "selp") {
        typed(parsed, SELP, {type, type, PRED});
    } else if (parsed.base == "cvt") {
        instruction.from_type = parsed.types.at(1);
        if (type == BF16X2 || type == F16X2) typed(parsed, CVT_PACK, {F32, F32});
        else typed(parsed, CVT, {instruction.from_type});
    } else if (parsed.base == "cvta") {
        parsed.take("to");
        if (!parsed.take("global")) refuse_here("an address of another space than global");
        plain(parsed, CVTA, 1);
    } else {
        return false;
    }
    return true;
}

bool Compiler::bit_statement(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const std::string &base = parsed.base;
    const Type type = instruction.type;
    if (base == "and") plain(parsed, AND, 2);
    else if (base == "or") plain(parsed, OR, 2);
    else if (base == "xor") plain(parsed, XOR, 2);
    else if (base == "not") plain(parsed, NOT, 1);
    else if (base == "shl") typed(parsed, SHL, {type, U32});
    else if (base == "shr") typed(parsed, SHR, {type, U32});
    else if (base == "prmt") plain(parsed, PRMT, 3);
    else if (base == "bfi") typed(parsed, BFI, {type, type, U32, U32});
    else if (base == "bfe") typed(parsed, BFE, {type, U32, U32});
    else if (base == "bfind") {
        instruction.shift_amount = parsed.take("shiftamt");
        plain(parsed, BFIND, 1);
    } else if (base == "brev") plain(parsed, BREV, 1);
    else if (base == "clz") plain(parsed, CLZ, 1);
    else if (base == "popc") plain(parsed, POPC, 1);
    else if (base == "lop3") {
        instruction.offset = strtoll(parsed.operands.at(4).c_str(), nullptr, 0);
        parsed.operands.pop_back();
        plain(parsed, LOP3, 3);
    } else if (base == "shf") {
        instruction.left = parsed.take("l");
        if (!instruction.left && !parsed.take("r")) refuse_here("which direction?");
        instruction.clamp = parsed.take("clamp");
        if (!instruction.clamp && !parsed.take("wrap")) refuse_here("clamp or wrap?");
        typed(parsed, SHF, {U32, U32, U32});
    } else return false;
    return true;
}

} // namespace ptx
