/* What the interpreter runs: PTX instructions with their operands resolved, functions and modules. docs/emulator.md is
 * the introduction. */
#ifndef EAB_TESTS_PTX_INSTRUCTION_H
#define EAB_TESTS_PTX_INSTRUCTION_H

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ptx {

enum Type : uint8_t {
    NONE,
    U8,
    S8,
    B8,
    U16,
    S16,
    B16,
    F16,
    BF16,
    U32,
    S32,
    B32,
    F32,
    U64,
    S64,
    B64,
    F64,
    PRED,
    F16X2,
    BF16X2
};
int size_of(Type type); /* bytes; 0: a predicate */
bool is_signed(Type type);
bool is_float(Type type);

enum Space : uint8_t { GENERIC, GLOBAL, SHARED, LOCAL, PARAM };

/* The file that holds an operand. 16-bit registers are in the file of 32-bit ones, with zeros above. A constant is in
 * its own file, with 32 equal lanes. */
enum File : uint8_t { NOWHERE, REGISTER32, REGISTER64, PREDICATE, CONSTANT32, CONSTANT64 };

struct Operand {
    File file = NOWHERE;
    bool narrow = false; /* a 16-bit register */
    bool negate = false; /* a predicate with ! */
    int32_t index = 0;
};

/* In groups, by the file that executes them. */
enum Op : uint8_t {
    UNKNOWN,
    /* execute_moves.cpp */
    MOV,
    MOV_PACK,
    MOV_UNPACK,
    CVTA,
    SELP,
    CVT,
    CVT_PACK,
    SETP,
    /* execute_integers.cpp */
    ADD,
    SUB,
    MUL_LO,
    MUL_HI,
    MUL_WIDE,
    MAD_LO,
    MAD_HI,
    DIV,
    REM,
    MIN,
    MAX,
    ABS,
    NEG,
    /* execute_floats.cpp */
    ADD_F,
    SUB_F,
    MUL_F,
    FMA,
    DIV_F,
    MIN_F,
    MAX_F,
    ABS_F,
    NEG_F,
    EX2,
    LG2,
    RCP,
    SQRT,
    RSQRT,
    /* execute_bits.cpp */
    AND,
    OR,
    XOR,
    NOT,
    SHL,
    SHR,
    PRMT,
    BFI,
    BFE,
    BFIND,
    BREV,
    CLZ,
    POPC,
    LOP3,
    SHF,
    /* execute_memory.cpp */
    LD,
    ST,
    ATOM_ADD,
    FENCE,
    /* execute_copies.cpp */
    CP_ASYNC,
    CP_COMMIT,
    CP_WAIT,
    /* execute_matrices.cpp */
    MMA,
    LDMATRIX,
    /* execute_warp.cpp */
    SHFL,
    VOTE_ANY,
    VOTE_ALL,
    VOTE_BALLOT,
    BAR_WARP,
    /* schedule.cpp */
    BRA,
    RET,
    BAR,
    BAR_RED,
    TRAP
};

enum Compare : uint8_t { EQ, NE, LT, LE, GT, GE, LTU, LEU, GTU, GEU, EQU, NEU, NUM, NOT_A_NUMBER };
enum Round : uint8_t { NEAREST, ZERO, DOWN, UP, INTEGER_NEAREST, INTEGER_ZERO, INTEGER_DOWN, INTEGER_UP, NO_ROUND };
enum Shuffle : uint8_t { BUTTERFLY, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_INDEX };

struct Instruction {
    Op op = UNKNOWN;
    Type type = NONE, from_type = NONE;
    Space space = GENERIC;
    Compare compare = EQ;
    Round round = NO_ROUND;
    Shuffle shuffle = BUTTERFLY;
    bool approximate = false, flush = false, saturate = false, keep_nan = false, uniform = false;
    bool carry_out = false, carry_in = false;
    bool transpose = false;    /* of ldmatrix */
    bool read_only = false;    /* ld.global.nc */
    bool left = false;         /* of shf */
    bool clamp = false;        /* of shf */
    bool shift_amount = false; /* of bfind */
    uint8_t width = 1;         /* elements of a vector access, matrices of ldmatrix, bytes of cp.async */
    Operand guard;             /* NOWHERE: none */
    std::vector<Operand> to, from;
    int64_t offset = 0;          /* added to an address; groups that cp.async.wait_group leaves; the table of lop3 */
    uint32_t target = 0;         /* of a branch: an index into the code */
    uint64_t used_bytes = ~0ull; /* of a load: a bit for each byte that is used (.pragma used_bytes_mask) */
    int line = 0;
};

struct Parameter {
    int offset, size;
};

enum Special {
    TID_X,
    TID_Y,
    TID_Z,
    NTID_X,
    NTID_Y,
    NTID_Z,
    CTAID_X,
    CTAID_Y,
    CTAID_Z,
    NCTAID_X,
    NCTAID_Y,
    NCTAID_Z,
    LANEID,
    WARPID,
    SPECIALS
};

/* A constant whose value is the address of dynamic shared memory, plus an offset. */
struct DynamicAddress {
    Operand constant;
    int64_t offset;
};

struct Function {
    std::string name, file;
    std::vector<Parameter> parameters;
    int parameter_bytes = 0;
    std::vector<Instruction> code;
    int count32 = 0, count64 = 0, count_predicates = 0; /* registers */
    std::vector<uint32_t> constants32;                  /* 32 equal lanes each */
    std::vector<uint64_t> constants64;
    std::vector<DynamicAddress> dynamic_addresses;
    int special[SPECIALS];                             /* the 32-bit register that holds it, or -1 */
    int max_threads[3] = {0, 0, 0};                    /* .maxntid; 0: none */
    int shared_bytes = 0;                              /* static, as a device has it */
    int shared_extent = 0;                             /* the same with the guard zones between variables */
    std::vector<std::pair<int, int>> shared_variables; /* address, bytes */
    int shared_cell_bytes = 4; /* the smallest store to shared memory: races are watched in cells of it */
    int local_bytes = 0;
};

struct Module {
    std::string path;
    std::map<std::string, Function *> functions; /* its entries */
};

/* Places a .global variable in device memory; an address. */
typedef uint64_t (*PlaceGlobal)(size_t bytes, size_t align, const uint8_t *initial);

/* Reads a file. An instruction or a modifier that it does not know ends the process with a line that names the file,
 * the line and the statement. Modules live until the process ends. */
Module *read_module(const std::string &path, PlaceGlobal place_global);

} // namespace ptx

#endif
