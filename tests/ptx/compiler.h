/* From a module's text to functions. Device functions are inlined where they are called. */
#ifndef EAB_TESTS_PTX_COMPILER_H
#define EAB_TESTS_PTX_COMPILER_H

#include <set>

#include "instruction.h"
#include "text.h"

namespace ptx {

enum StatementKind { STATEMENT, OPEN, CLOSE, LABEL };

struct Statement {
    std::string text; /* without ; or : */
    StatementKind kind;
    int line;
};

/* A function as it is written. */
struct Source {
    std::string name, returns, parameters, attributes;
    bool entry;
    std::vector<Statement> body;
};

struct Variable {
    Space space;
    int64_t address;
    bool dynamic;             /* dynamic shared memory, whose address the launch decides */
    int align = 0, bytes = 0; /* of a module's static shared array, which each function that uses it places */
};

/* An instruction in parts. Statements take the modifiers that they know; one that is left is an error. */
struct Parsed {
    std::string base, text;
    std::vector<std::string> operands;
    std::vector<Type> types;
    std::set<std::string> modifiers;
    Instruction instruction;

    bool take(const char *modifier) { return modifiers.erase(modifier) > 0; }
};

class Compiler {
  public:
    Compiler(Module *of, PlaceGlobal with) : module(of), place_global(with) {}

    void read(const std::string &text); /* reader.cpp: fills globals and sources */
    Function *compile(const Source &source);
    std::vector<std::string> entries; /* their names */
    std::map<std::string, Source> sources;

  private:
    struct Scope {
        std::map<std::string, Operand> registers;
        std::map<std::string, Variable> variables;
    };

    /* ---- symbols.cpp ---- */
    Operand constant(uint64_t value, bool wide);
    Operand address_of(const Variable &variable, int64_t offset, bool wide);
    Operand fresh_register(Type type);
    Operand special_register(const std::string &name);
    bool find_register(const std::string &name, Operand *found) const;
    const Variable *find_variable(const std::string &name);
    Operand source(std::string text, Type type);
    Operand target(const std::string &text);
    void address(Instruction &instruction, const std::string &bracketed);
    void declare_registers(const std::string &text);
    void declare_variable(const std::string &text);
    Variable place(int *cursor, Space space, int align, int bytes);
    Variable place_shared(int align, int bytes);

    /* ---- compiler.cpp ---- */
    void compile_body(const Source &source);
    void inline_call(const std::string &text);
    void read_attributes(const std::string &text);
    void resolve_branches(const std::string &name);
    void statement(const std::string &text, int line);

    /* ---- statement_*.cpp: false where the instruction belongs to another group ---- */
    bool arithmetic_statement(Parsed &parsed);
    bool move_statement(Parsed &parsed);
    bool bit_statement(Parsed &parsed);
    bool memory_statement(Parsed &parsed);
    bool copy_statement(Parsed &parsed);
    bool matrix_statement(Parsed &parsed);
    bool warp_statement(Parsed &parsed);
    bool control_statement(Parsed &parsed);
    /* A target and so many sources, all of the instruction's type. */
    void plain(Parsed &parsed, Op op, size_t sources);
    /* A target and one source for each type. */
    void typed(Parsed &parsed, Op op, std::initializer_list<Type> types);
    void load_or_store(Parsed &parsed);
    void atomic_add(Parsed &parsed);
    void compare_statement(Parsed &parsed);
    [[noreturn]] void refuse_here(const std::string &what) const { refuse(what, where); }

    Module *module;
    PlaceGlobal place_global;
    std::map<std::string, Variable> globals;

    /* The function that is compiled. */
    Function *function = nullptr;
    std::vector<Scope> scopes;
    std::map<uint32_t, int> known32;
    std::map<uint64_t, int> known64;
    std::map<std::string, uint32_t> labels;
    std::vector<std::pair<size_t, std::string>> branches; /* instruction, label */
    uint64_t next_used_bytes = ~0ull;
    std::string where; /* file, line and statement, for messages */

    /* The call that is inlined. */
    int calls = 0;
    std::string prefix, return_label; /* of its labels */
    std::map<std::string, Variable> arguments;
};

/* The elements of {a, b, ...}, or the operand alone. */
std::vector<std::string> elements(const std::string &operand);

} // namespace ptx

#endif
