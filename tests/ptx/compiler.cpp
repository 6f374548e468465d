/* Functions: their statements, the calls that are inlined, their branches. */
#include "compiler.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace ptx {

std::vector<std::string> elements(const std::string &operand) {
    const std::string inside = strip(operand);
    if (inside.front() != '{') return {inside};
    return split(inside.substr(1, inside.size() - 2), ',');
}

/* call.uni (result), name, (argument, argument): parameters are the caller's variables. */
void Compiler::inline_call(const std::string &text) {
    auto parts = split(text.substr(text.find_first_of(" \t(\n")), ',');
    const bool has_result = !parts.empty() && parts[0][0] == '(';
    if (!has_result) parts.insert(parts.begin(), "()");
    if (parts.size() == 2) parts.push_back("()");
    if (parts.size() != 3) refuse_here("a call of an unknown form");
    const auto callee = sources.find(parts[1]);
    if (callee == sources.end()) refuse_here("a call of an unknown function");
    std::map<std::string, Variable> bound;
    const auto bind = [&](const std::string &formal, const std::string &actual) {
        const auto formals = split(formal, ','), actuals = split(actual.substr(1, actual.size() - 2), ',');
        if (formals.size() != actuals.size()) refuse_here("a call with another number of arguments");
        for (size_t k = 0; k < formals.size(); k++) {
            const Variable *const variable = find_variable(actuals[k]);
            if (!variable) refuse_here("unknown argument " + actuals[k]);
            bound[read_declaration(formals[k]).name] = *variable;
        }
    };
    bind(callee->second.returns, parts[0]);
    bind(callee->second.parameters, parts[2]);

    const auto outer_prefix = prefix, outer_return = return_label;
    const auto outer_arguments = arguments;
    auto outer_scopes = scopes;
    prefix = "call" + std::to_string(calls++) + ".";
    return_label = prefix + "return";
    arguments = bound;
    scopes.assign(1, Scope());
    compile_body(callee->second);
    labels[return_label] = (uint32_t)function->code.size();
    prefix = outer_prefix;
    return_label = outer_return;
    arguments = outer_arguments;
    scopes.swap(outer_scopes);
}

void Compiler::compile_body(const Source &source) {
    for (const Statement &s : source.body) {
        where = function->file + ":" + std::to_string(s.line) + ": " + s.text;
        if (s.kind == OPEN) scopes.emplace_back();
        else if (s.kind == CLOSE) scopes.pop_back();
        else if (s.kind == LABEL) labels[prefix + s.text] = (uint32_t)function->code.size();
        else if (starts_with(s.text, ".reg")) declare_registers(s.text);
        else if (starts_with(s.text, ".pragma")) {
            const size_t at = s.text.find("used_bytes_mask");
            if (at != std::string::npos) next_used_bytes = strtoull(s.text.c_str() + at + 15, nullptr, 0);
        } else if (s.text[0] == '.') declare_variable(s.text);
        else statement(s.text, s.line);
    }
}

void Compiler::statement(const std::string &statement, int line) {
    Parsed parsed;
    Instruction &instruction = parsed.instruction;
    instruction.line = line;
    parsed.text = statement;
    if (statement[0] == '@') {
        const size_t space = statement.find_first_of(" \t");
        instruction.guard = source(statement.substr(1, space - 1), PRED);
        parsed.text = strip(statement.substr(space));
    }
    const size_t space = parsed.text.find_first_of(" \t\n({");
    const auto name = split(parsed.text.substr(0, space), '.');
    if (space != std::string::npos) parsed.operands = split(parsed.text.substr(space), ',');
    parsed.base = name[0];
    for (size_t k = 1; k < name.size(); k++) {
        Type type;
        if (type_from_name(name[k], &type)) parsed.types.push_back(type);
        else parsed.modifiers.insert(name[k]);
    }
    if (parsed.base == "call") {
        inline_call(parsed.text);
        return;
    }
    static const struct {
        const char *name;
        Round round;
    } rounds[] = {{"rn", NEAREST},          {"rz", ZERO},          {"rm", DOWN},          {"rp", UP},
                  {"rni", INTEGER_NEAREST}, {"rzi", INTEGER_ZERO}, {"rmi", INTEGER_DOWN}, {"rpi", INTEGER_UP}};
    if (!parsed.types.empty()) instruction.type = parsed.types[0];
    for (const auto &known : rounds)
        if (parsed.take(known.name)) instruction.round = known.round;
    instruction.flush = parsed.take("ftz");
    instruction.approximate = parsed.take("approx");
    instruction.saturate = parsed.take("sat");
    instruction.keep_nan = parsed.take("NaN");
    if (!arithmetic_statement(parsed) && !move_statement(parsed) && !bit_statement(parsed) &&
        !memory_statement(parsed) && !copy_statement(parsed) && !matrix_statement(parsed) && !warp_statement(parsed) &&
        !control_statement(parsed))
        refuse_here("unknown instruction " + parsed.base);
    if (!parsed.modifiers.empty()) refuse_here("unknown modifier ." + *parsed.modifiers.begin());
    function->code.push_back(instruction);
}

void Compiler::plain(Parsed &parsed, Op op, size_t sources_wanted) {
    Instruction &instruction = parsed.instruction;
    instruction.op = op;
    if (parsed.operands.size() != sources_wanted + 1) refuse_here("another number of operands");
    instruction.to.push_back(target(parsed.operands[0]));
    for (size_t k = 1; k <= sources_wanted; k++)
        instruction.from.push_back(source(parsed.operands[k], instruction.type));
}

void Compiler::typed(Parsed &parsed, Op op, std::initializer_list<Type> types) {
    Instruction &instruction = parsed.instruction;
    instruction.op = op;
    if (parsed.operands.size() != types.size() + 1) refuse_here("another number of operands");
    instruction.to.push_back(target(parsed.operands[0]));
    size_t k = 1;
    for (const Type type : types) instruction.from.push_back(source(parsed.operands[k++], type));
}

bool Compiler::control_statement(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const auto branch_to = [&](const std::string &label) {
        instruction.op = BRA;
        branches.push_back({function->code.size(), label});
    };
    if (parsed.base == "bra") {
        instruction.uniform = parsed.take("uni");
        branch_to(prefix + parsed.operands.at(0));
    } else if (parsed.base == "ret" && !return_label.empty()) {
        parsed.take("uni");
        branch_to(return_label);
    } else if (parsed.base == "ret" || parsed.base == "exit") {
        parsed.take("uni");
        instruction.op = RET;
    } else if (parsed.base == "trap") {
        instruction.op = TRAP;
    } else {
        return false;
    }
    return true;
}

/* ".maxntid 256, 1, 1 .minnctapersm 2": the most threads of a block. */
void Compiler::read_attributes(const std::string &text) {
    std::string spaced = text;
    for (char &c : spaced)
        if (c == ',') c = ' ';
    const auto all = words(spaced);
    for (size_t k = 0; k < all.size(); k++) {
        if (all[k] != ".maxntid" && all[k] != ".reqntid") continue;
        for (size_t d = 0; d < 3; d++) {
            const bool given = k + 1 + d < all.size() && isdigit((unsigned char)all[k + 1 + d][0]);
            function->max_threads[d] = given ? atoi(all[k + 1 + d].c_str()) : 1;
        }
    }
}

void Compiler::resolve_branches(const std::string &name) {
    for (const auto &branch : branches) {
        const auto label = labels.find(branch.second);
        if (label == labels.end()) refuse("no label " + branch.second, function->file + ": " + name);
        function->code[branch.first].target = label->second;
    }
}

Function *Compiler::compile(const Source &entry) {
    function = new Function;
    function->name = entry.name;
    function->file = module->path;
    std::fill(function->special, function->special + SPECIALS, -1);
    scopes.assign(1, Scope());
    labels.clear();
    branches.clear();
    known32.clear();
    known64.clear();
    for (const auto &text : split(entry.parameters, ',')) {
        const Declaration declared = read_declaration(text);
        const Variable variable = place(&function->parameter_bytes, PARAM, declared.align, declared.bytes);
        function->parameters.push_back({(int)variable.address, declared.bytes});
        scopes.back().variables[declared.name] = variable;
    }
    read_attributes(entry.attributes);
    compile_body(entry);
    Instruction end;
    end.op = RET;
    function->code.push_back(end);
    resolve_branches(entry.name);
    for (const Instruction &i : function->code)
        if (i.op == ST && i.space == SHARED)
            function->shared_cell_bytes = std::min(function->shared_cell_bytes, size_of(i.type));
    return function;
}

} // namespace ptx
