#include "banks.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

namespace ptx {

namespace {

struct Count {
    uint64_t requests = 0, parts = 0, least = 0;
};
struct Counts {
    std::map<std::pair<const Function *, int>, Count> banks, sectors; /* by the instruction's line */
};

void print(const char *what, const char *parts, const std::map<std::pair<const Function *, int>, Count> &counts) {
    for (const auto &at : counts)
        fprintf(stderr, "ptx: %s %s:%d: requests %llu, %s %llu, least %llu\n", what, at.first.first->name.c_str(),
                at.first.second, (unsigned long long)at.second.requests, parts, (unsigned long long)at.second.parts,
                (unsigned long long)at.second.least);
}

Counts &counts() {
    static Counts *const all = [] {
        atexit([] {
            print("banks", "wavefronts", counts().banks);
            print("sectors", "sectors", counts().sectors);
        });
        return new Counts;
    }();
    return *all;
}

} // namespace

void count_shared(const Function &f, const Instruction &i, const uint64_t *addresses, uint32_t lanes, int bytes,
                  int lanes_per_request) {
    Count &count = counts().banks[{&f, i.line}];
    count.requests++;
    for (int first = 0; first < 32; first += lanes_per_request) {
        std::set<uint64_t> words_of[32];
        for (int l = first; l < first + lanes_per_request; l++)
            for (int k = 0; lanes >> l & 1 && k < bytes; k += 4) {
                const uint64_t word = (addresses[l] + (uint64_t)k) / 4;
                words_of[word % 32].insert(word);
            }
        size_t fullest = 0;
        for (const auto &bank : words_of) fullest = std::max(fullest, bank.size());
        count.parts += fullest;
        count.least += fullest > 0;
    }
}

void count_global(const Function &f, const Instruction &i, const uint64_t *addresses, uint32_t lanes, int bytes) {
    std::set<uint64_t> sectors, different;
    for (int l = 0; l < 32; l++)
        if (lanes >> l & 1) {
            sectors.insert(addresses[l] / 32);
            different.insert(addresses[l]);
        }
    Count &count = counts().sectors[{&f, i.line}];
    count.requests++;
    count.parts += sectors.size();
    count.least += (different.size() * (size_t)bytes + 31) / 32;
}

} // namespace ptx
