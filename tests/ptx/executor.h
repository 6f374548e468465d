/* Runs the blocks of a launch, one after the other: the warps of a block by turns, the lanes of a warp together where
 * they are at the same instruction. */
#ifndef EAB_TESTS_PTX_EXECUTOR_H
#define EAB_TESTS_PTX_EXECUTOR_H

#include <type_traits>
#include <vector>

#include "device_memory.h"
#include "findings.h"
#include "float16.h"
#include "instruction.h"
#include "launch.h"
#include "races.h"
#include "settings.h"

namespace ptx {

const uint32_t ALL_LANES = 0xFFFFFFFFu;

/* A cp.async that was issued. */
struct Copy {
    int lane;
    uint32_t to;
    uint64_t from;
    int bytes; /* the rest of the 16 become zeros */
    uint32_t group;
};

struct Warp {
    int number;
    /* Registers, 32 lanes each; predicates have a bit a lane. defined: lanes that have been written. */
    std::vector<uint32_t> registers32, defined32, defined64, predicates, defined_predicates;
    std::vector<uint64_t> registers64;
    std::vector<uint8_t> local, local_written; /* each lane's local memory, one after the other */
    uint32_t pc[32];
    uint32_t alive, at_barrier, waiting, carry; /* a bit a lane; waiting: for other lanes of the warp */
    uint32_t committed[32];                     /* groups of copies */
    std::vector<Copy> copies;
    uint16_t full_barriers; /* bar.warp.sync of all lanes, since the block's last barrier */
    bool parts;             /* there was one of a part of the lanes since */
    PartOrder order;
};

enum AccessKind { READ, WRITE, ATOMIC };

class Executor {
  public:
    explicit Executor(const Launch &of);
    void run_block(uint32_t number);
    bool failed = false; /* a GPU would have refused an access, or hangs */

  private:
    template <typename T> using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

    /* ---- schedule.cpp ---- */
    void start(Warp &w, int number);
    void start_special_registers(Warp &w);
    void run_warp(Warp &w);
    void run_together(Warp &w, uint32_t lanes, uint32_t pc, uint32_t next_pc);
    uint32_t meet(Warp &w, const Instruction &i, uint32_t lanes, uint32_t pc);
    bool members_are_here(Warp &w, const Instruction &i, uint32_t mask, uint32_t members);
    void end_lanes(Warp &w, uint32_t lanes, const Instruction &i);
    void wait_at_barrier(Warp &w, const Instruction &i, uint32_t lanes, uint32_t active);
    void release_barrier();
    bool all_at_barrier();
    static void set_pc(Warp &w, uint32_t lanes, uint32_t pc) {
        each(lanes, [&](int l) { w.pc[l] = pc; });
    }
    uint32_t initial_lanes(int warp) const;

    /* ---- by groups; `lanes` execute ---- */
    void execute(Warp &w, const Instruction &i, uint32_t lanes);
    void check_defined(const Warp &w, const Instruction &i, uint32_t lanes);
    void execute_move(Warp &w, const Instruction &i, uint32_t lanes);
    void execute_integer(Warp &w, const Instruction &i, uint32_t lanes);
    void add_with_carry(Warp &w, const Instruction &i, uint32_t lanes);
    void multiply_high(Warp &w, const Instruction &i, uint32_t lanes);
    void divide(Warp &w, const Instruction &i, uint32_t lanes);
    void execute_float(Warp &w, const Instruction &i, uint32_t lanes);
    void fused_multiply_add(Warp &w, const Instruction &i, uint32_t lanes);
    void minimum_or_maximum(Warp &w, const Instruction &i, uint32_t lanes);
    void special_function(Warp &w, const Instruction &i, uint32_t lanes);
    void execute_bits(Warp &w, const Instruction &i, uint32_t lanes);
    void logic(Warp &w, const Instruction &i, uint32_t lanes);
    void bit_field(Warp &w, const Instruction &i, uint32_t lanes);
    void load(Warp &w, const Instruction &i, uint32_t lanes);
    const uint8_t *load_from(Warp &w, const Instruction &i, uint64_t address, int bytes, int lane);
    void store(Warp &w, const Instruction &i, uint32_t lanes);
    uint8_t *store_to(Warp &w, const Instruction &i, uint64_t address, int bytes, int lane);
    void atomic_add(Warp &w, const Instruction &i, uint32_t lanes);
    void execute_copy(Warp &w, const Instruction &i, uint32_t lanes);
    void begin_copy(Warp &w, const Instruction &i, int lane);
    void write_copy(const Copy &copy);
    void finish_copies(Warp &w, const Instruction &i, uint32_t lanes);
    void multiply_matrices(Warp &w, const Instruction &i, uint32_t lanes);
    void load_matrices(Warp &w, const Instruction &i, uint32_t lanes);
    void shuffle(Warp &w, const Instruction &i, uint32_t lanes);
    void vote(Warp &w, const Instruction &i, uint32_t lanes);
    void warp_barrier(Warp &w, uint32_t lanes);
    uint64_t convert(const Instruction &i, uint64_t bits) const;
    [[noreturn]] void missing(const Instruction &i) const;

    /* ---- memory_checks.cpp ---- */
    bool global_fits(const Instruction &i, uint64_t address, int bytes, const char *what, const Warp &w, int lane);
    bool shared_fits(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane);
    uint8_t *local_at(Warp &w, const Instruction &i, uint64_t address, int bytes, int lane);
    void read_global(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane);
    void write_global(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane, AccessKind kind);
    /* lane -1: all lanes of the warp read. */
    void read_shared(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane);
    void write_shared(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane, AccessKind kind);
    bool conflicts(const Access &other, const Warp &w, int lane, bool global) const;
    bool ordered_by_parts(const Access &other, const Warp &w, int lane) const;
    void note(Accesses &accesses, uint64_t address, const Warp &w, int lane, AccessKind kind, bool global,
              const Instruction &i);
    void note_read(Access &read, const Warp &w, int lane, bool global);
    Access access_now(const Warp &w, int lane, AccessKind kind) const;
    void report_race(const char *what, const Instruction &i, uint64_t address, const Access &other, const Warp &w,
                     int lane);

    /* ---- operands ---- */
    template <typename S> const S *source(const Warp &w, const Operand &o) const {
        const size_t at = (size_t)o.index * 32;
        if constexpr (sizeof(S) == 8) return o.file == CONSTANT64 ? &constants64[at] : &w.registers64[at];
        else return o.file == CONSTANT32 ? &constants32[at] : &w.registers32[at];
    }
    template <typename S> S *target(Warp &w, const Operand &o) const {
        if constexpr (sizeof(S) == 8) return &w.registers64[(size_t)o.index * 32];
        else return &w.registers32[(size_t)o.index * 32];
    }
    uint32_t predicate(const Warp &w, const Operand &o) const {
        if (o.file == CONSTANT32) return constants32[(size_t)o.index * 32] ? ALL_LANES : 0;
        return o.negate ? ~w.predicates[(size_t)o.index] : w.predicates[(size_t)o.index];
    }
    void set_predicate(Warp &w, const Operand &o, uint32_t lanes, uint32_t value) const {
        uint32_t &to = w.predicates[(size_t)o.index];
        to = (to & ~lanes) | (value & lanes);
    }
    /* Any operand as 64 bits, with zeros above. */
    uint64_t get(const Warp &w, const Operand &o, int lane) const {
        const size_t at = (size_t)o.index * 32 + (size_t)lane;
        switch (o.file) {
            case REGISTER32: return w.registers32[at];
            case REGISTER64: return w.registers64[at];
            case CONSTANT32: return constants32[at];
            case CONSTANT64: return constants64[at];
            case PREDICATE: return predicate(w, o) >> lane & 1;
            case NOWHERE: break;
        }
        return 0;
    }
    uint32_t get32(const Warp &w, const Operand &o, int lane) const { return (uint32_t)get(w, o, lane); }
    void set(Warp &w, const Operand &o, int lane, uint64_t value) const {
        const size_t at = (size_t)o.index * 32 + (size_t)lane;
        if (o.file == REGISTER32) w.registers32[at] = (uint32_t)value & (o.narrow ? 0xFFFFu : ALL_LANES);
        else if (o.file == REGISTER64) w.registers64[at] = value;
    }
    void define(Warp &w, const Operand &o, uint32_t lanes) const {
        if (o.file == REGISTER32) w.defined32[(size_t)o.index] |= lanes;
        else if (o.file == REGISTER64) w.defined64[(size_t)o.index] |= lanes;
        else if (o.file == PREDICATE) w.defined_predicates[(size_t)o.index] |= lanes;
    }
    bool defined(const Warp &w, const Operand &o, uint32_t lanes) const {
        if (o.file == REGISTER32) return !(lanes & ~w.defined32[(size_t)o.index]);
        if (o.file == REGISTER64) return !(lanes & ~w.defined64[(size_t)o.index]);
        if (o.file == PREDICATE) return !(lanes & ~w.defined_predicates[(size_t)o.index]);
        return true;
    }

    /* ---- functions of one, two or three sources of type T, for each lane. A loop over all 32 lanes becomes vector
     * instructions. ---- */
    template <typename F> static void each(uint32_t lanes, F function) {
        if (lanes == ALL_LANES)
            for (int lane = 0; lane < 32; lane++) function(lane);
        else
            for (int lane = 0; lane < 32; lane++)
                if (lanes >> lane & 1) function(lane);
    }
    template <typename T, typename F> void map1(Warp &w, const Instruction &i, uint32_t lanes, F function) {
        using S = Bits<T>;
        const S *const a = source<S>(w, i.from[0]);
        S *const d = target<S>(w, i.to[0]);
        each(lanes, [=](int l) { d[l] = bits_as<S>(function(bits_as<T>(a[l]))); });
    }
    template <typename T, typename F> void map2(Warp &w, const Instruction &i, uint32_t lanes, F function) {
        using S = Bits<T>;
        const S *const a = source<S>(w, i.from[0]), *const b = source<S>(w, i.from[1]);
        S *const d = target<S>(w, i.to[0]);
        each(lanes, [=](int l) { d[l] = bits_as<S>((T)function(bits_as<T>(a[l]), bits_as<T>(b[l]))); });
    }
    template <typename T, typename F> void map3(Warp &w, const Instruction &i, uint32_t lanes, F function) {
        using S = Bits<T>;
        const S *const a = source<S>(w, i.from[0]), *const b = source<S>(w, i.from[1]),
                       *const c = source<S>(w, i.from[2]);
        S *const d = target<S>(w, i.to[0]);
        each(lanes,
             [=](int l) { d[l] = bits_as<S>((T)function(bits_as<T>(a[l]), bits_as<T>(b[l]), bits_as<T>(c[l]))); });
    }
    /* Of integers of the instruction's type. */
    template <typename F> void integers2(Warp &w, const Instruction &i, uint32_t lanes, F function) {
        switch (i.type) {
            case U16:
            case B16: map2<uint16_t>(w, i, lanes, function); break;
            case S16: map2<int16_t>(w, i, lanes, function); break;
            case U32:
            case B32: map2<uint32_t>(w, i, lanes, function); break;
            case S32: map2<int32_t>(w, i, lanes, function); break;
            case U64:
            case B64: map2<uint64_t>(w, i, lanes, function); break;
            case S64: map2<int64_t>(w, i, lanes, function); break;
            default: missing(i);
        }
    }
    /* Of unsigned integers as wide as the instruction's type. */
    template <typename F> void unsigned1(Warp &w, const Instruction &i, uint32_t lanes, F function) {
        switch (size_of(i.type)) {
            case 2: map1<uint16_t>(w, i, lanes, [=](uint16_t x) { return (uint16_t)function(x); }); break;
            case 4: map1<uint32_t>(w, i, lanes, [=](uint32_t x) { return (uint32_t)function(x); }); break;
            case 8: map1<uint64_t>(w, i, lanes, function); break;
            default: missing(i);
        }
    }
    template <typename F> void unsigned2(Warp &w, const Instruction &i, uint32_t lanes, F function) {
        switch (size_of(i.type)) {
            case 2: map2<uint16_t>(w, i, lanes, function); break;
            case 4: map2<uint32_t>(w, i, lanes, function); break;
            case 8: map2<uint64_t>(w, i, lanes, function); break;
            default: missing(i);
        }
    }
    template <typename T> void compare(Warp &w, const Instruction &i, uint32_t lanes);

    const Settings &set_by = settings();
    const Launch &launch;
    const Function &f;
    DeviceMemory &memory;
    const Allocation *known = nullptr; /* the last one that an access was in */
    uint32_t launch_number, block_number = 0, ctaid[3];
    int threads;
    uint16_t barriers = 0; /* that this block has passed */
    std::vector<uint32_t> constants32;
    std::vector<uint64_t> constants64;
    std::vector<Warp> warps;
    /* Shared memory; of each byte whether it is a guard, unwritten or written; accesses by cells. */
    enum ByteState : uint8_t { UNWRITTEN, WRITTEN, GUARD };
    std::vector<uint8_t> shared, shared_state, shared_state_at_start;
    std::vector<Accesses> shared_accesses;
    int cell_bytes;
};

} // namespace ptx

#endif
