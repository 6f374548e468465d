/* Kernels: where their PTX is, what a launch may ask for. */
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fstream>

#include "findings.h"
#include "launch.h"
#include "runtime.h"
#include "settings.h"

namespace ptx {

namespace {

struct Code {
    std::string path;
    int architecture; /* of .target; 0: the device cannot run it */
};

/* As the driver chooses: code of the newest architecture that is not newer than the device; sm_90a only on sm_90. */
int usable_architecture(const std::string &target) {
    char *end;
    const int version = (int)strtol(target.c_str() + target.find("sm_") + 3, &end, 10);
    const bool exact = *end == 'a';
    const int device = settings().device;
    return exact ? (version == device ? version : 0) : version <= device ? version : 0;
}

std::string entry_name(const std::string &line) {
    const size_t at = line.find(".entry ");
    if (at == std::string::npos) return "";
    std::string name = line.substr(at + 7);
    name = name.substr(0, name.find('('));
    while (!name.empty() && isspace((unsigned char)name.back())) name.pop_back();
    return name;
}

/* The first folder that has usable code of a kernel wins. */
void read_file(const std::string &path, std::map<std::string, Code> *folder) {
    std::ifstream in(path);
    std::string line;
    int architecture = 0;
    while (std::getline(in, line)) {
        if (line.compare(0, 7, ".target") == 0) architecture = usable_architecture(line);
        const std::string name = entry_name(line);
        if (name.empty() || !architecture) continue;
        Code &code = (*folder)[name];
        if (code.path.empty() || architecture > code.architecture) code = {path, architecture};
    }
}

void read_folder(const std::string &path, std::map<std::string, Code> *folder) {
    DIR *const directory = opendir(path.c_str());
    if (!directory) return;
    while (const dirent *const entry = readdir(directory)) {
        const std::string name = entry->d_name;
        if (name.size() > 4 && name.compare(name.size() - 4, 4, ".ptx") == 0) read_file(path + "/" + name, folder);
    }
    closedir(directory);
}

std::map<std::string, Code> read_folders() {
    std::map<std::string, Code> all;
    const std::string &folders = settings().folders;
    for (size_t from = 0; from <= folders.size();) {
        const size_t colon = std::min(folders.find(':', from), folders.size());
        std::map<std::string, Code> folder;
        read_folder(folders.substr(from, colon - from), &folder);
        all.insert(folder.begin(), folder.end());
        from = colon + 1;
    }
    return all;
}

uint64_t place_global(size_t bytes, size_t align, const uint8_t *initial) {
    const uint64_t address = device_memory().allocate(bytes, align < 256 ? 256 : align);
    device_memory().upload(address, initial, bytes);
    return address;
}

bool grid_fits(const Function *f, dim3 grid, dim3 block) {
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (grid.x && grid.y && grid.z && grid.x <= 2147483647u && grid.y <= 65535 && grid.z <= 65535 && threads &&
        threads <= 1024 && block.x <= 1024 && block.y <= 1024 && block.z <= 64)
        return true;
    finding("launch", f, 0, "grid %u x %u x %u, block %u x %u x %u", grid.x, grid.y, grid.z, block.x, block.y, block.z);
    return false;
}

bool block_fits(const Function *f, dim3 block) {
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    const int *const most = f->max_threads;
    if (!most[0] || threads <= (uint64_t)most[0] * (uint64_t)most[1] * (uint64_t)most[2]) return true;
    finding("launch", f, 0, "%llu threads; __launch_bounds__ allows %d", (unsigned long long)threads,
            most[0] * most[1] * most[2]);
    return false;
}

/* Dynamic memory beyond 48 KiB, static included, needs cudaFuncSetAttribute. */
bool shared_fits(const Kernel &k, size_t dynamic) {
    const size_t both = dynamic + (size_t)k.function->shared_bytes;
    const bool raised = k.dynamic_limit > default_shared_limit;
    if (dynamic <= k.dynamic_limit && both <= (raised ? limits().shared_per_block : default_shared_limit)) return true;
    finding("launch", k.function, 0, "%zu + %d bytes of shared memory; allowed are %zu (cudaFuncSetAttribute)", dynamic,
            k.function->shared_bytes, k.dynamic_limit);
    return false;
}

/* EAB_PTX_FAULT, or what the kernel does. A process that this one becomes has a device without that fault. */
cudaError_t run_launch(const Launch &launch) {
    if (++runtime().launches == settings().fault_launch) {
        unsetenv("EAB_PTX_FAULT");
        return cudaErrorLaunchFailure;
    }
    return run(launch) ? cudaSuccess : cudaErrorIllegalAddress;
}

} // namespace

const Function *function_of(Kernel &kernel) {
    static const std::map<std::string, Code> codes = read_folders();
    static std::map<std::string, Module *> modules;
    if (kernel.function) return kernel.function;
    const auto code = codes.find(kernel.name);
    if (code == codes.end()) {
        fprintf(stderr, "ptx: no code for sm_%d of kernel %s in %s\n", settings().device, kernel.name.c_str(),
                settings().folders.c_str());
        return nullptr;
    }
    Module *&module = modules[code->second.path];
    if (!module) module = read_module(code->second.path, place_global);
    return kernel.function = module->functions.at(kernel.name);
}

static Kernel *find_kernel(const void *host) {
    const auto found = runtime().kernels.find(host);
    return found == runtime().kernels.end() ? nullptr : &found->second;
}

} // namespace ptx

using namespace ptx;

extern "C" {

/* What nvcc's host code calls. The code in the fat binary is ignored. */
void **__cudaRegisterFatBinary(void *) {
    static void *handle[1];
    report_at_exit(&instructions_run);
    setenv("EAB_CUDA_PRODUCT", "own", 0); /* cuBLAS itself needs a driver; before main, so that no thread reads it */
    return handle;
}
void __cudaRegisterFatBinaryEnd(void **) {}
void __cudaUnregisterFatBinary(void **) {}
void __cudaRegisterFunction(void **, const char *host, char *, const char *device_name, int, void *, void *, void *,
                            void *, int *) {
    runtime().kernels[host].name = device_name;
}
void __cudaRegisterVar(void **, char *, char *, const char *name, int, size_t, int, int) {
    fprintf(stderr, "ptx: __device__ variable %s: not implemented\n", name);
    abort();
}
char __cudaInitModule(void **) { return 1; }
/* <<<>>>, which the kernels' launcher does not use. */
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, struct CUstream_st *) { return 1; }
cudaError_t __cudaPopCallConfiguration(dim3 *, dim3 *, size_t *, void *) { return cudaErrorNotSupported; }
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *host) {
    *kernel = (cudaKernel_t)host;
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t bytes,
                               cudaStream_t stream) {
    return cudaLaunchKernel((const void *)kernel, grid, block, arguments, bytes, stream);
}

cudaError_t cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **arguments, size_t dynamic,
                             cudaStream_t stream) {
    PTX_CALL();
    Kernel *const kernel = find_kernel(host);
    if (!kernel) return fail(cudaErrorInvalidDeviceFunction);
    const Function *const f = function_of(*kernel);
    if (!f) return fail(cudaErrorNoKernelImageForDevice);
    if (!grid_fits(f, grid, block)) return fail(cudaErrorInvalidConfiguration);
    if (!block_fits(f, block) || !shared_fits(*kernel, dynamic)) return fail(cudaErrorInvalidValue);
    Launch launch = {f, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, dynamic, {}};
    launch.parameters.resize((size_t)f->parameter_bytes);
    for (size_t p = 0; p < f->parameters.size(); p++)
        memcpy(&launch.parameters[(size_t)f->parameters[p].offset], arguments[p], (size_t)f->parameters[p].size);
    if (settings().trace)
        fprintf(stderr, "ptx: launch %s grid %u %u %u block %u %u %u shared %d + %zu\n", f->name.c_str(), grid.x,
                grid.y, grid.z, block.x, block.y, block.z, f->shared_bytes, dynamic);
    return enqueue(stream_of(stream), [launch] { return run_launch(launch); });
}

cudaError_t cudaFuncSetAttribute(const void *host, cudaFuncAttribute attribute, int value) {
    PTX_CALL();
    Kernel *const kernel = find_kernel(host);
    if (!kernel) return fail(cudaErrorInvalidDeviceFunction);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess; /* hints */
    const Function *const f = function_of(*kernel);
    if (!f) return fail(cudaErrorNoKernelImageForDevice);
    if (value < 0 || (size_t)value + (size_t)f->shared_bytes > limits().shared_per_block)
        return fail(cudaErrorInvalidValue);
    kernel->dynamic_limit = (size_t)value;
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *host) {
    PTX_CALL();
    memset(attributes, 0, sizeof *attributes);
    Kernel *const kernel = find_kernel(host);
    if (!kernel) return fail(cudaErrorInvalidDeviceFunction);
    return function_of(*kernel) ? cudaSuccess : fail(cudaErrorNoKernelImageForDevice);
}
}
