#!/usr/bin/env python3
"""Compiles the kernels with another CUDA version than the installed one, and reports spills.

    python3 tests/cuda/other_compiler.py TOOLKIT [ARCHITECTURE]...

TOOLKIT has include/ (the headers of the runtime and of cuBLAS) and lib64/libnvrtc.so.*. NVRTC is nvcc's device
compiler as a library, so a version can be tried without its nvcc: unpack its runtime, NVRTC, compiler (for
include/crt) and cuBLAS into a folder. If clang++ is installed, it parses the host code of every file with that
version's headers. Default architectures: sm_80 sm_86 sm_89 sm_90a compute_90.

Exit codes: 0 all compile without spills, 1 some do not, 2 misuse, 3 something is missing.
"""

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "kernels/cuda"
NO_KERNELS = {"attention_entries.cu", "attention_flash.cu", "blas.cu", "events.cu", "memory.cu"}
ONE_LINE_KERNELS = {"context.cu", "recording.cu"}  # with much host code, which NVRTC does not support
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90a", "compute_90"]

# NVRTC has no C library. It does not compile host code, but needs these declarations to parse it.
HEADERS = {
    "stdbool.h": "",
    "stddef.h": "typedef decltype(sizeof 0) size_t;\n#define NULL 0\n",
    "stdint.h": "".join(
        f"typedef {sign}{name} {prefix}int{bits}_t;\n"
        for bits, name in ((8, "char"), (16, "short"), (32, "int"), (64, "long"))
        for sign, prefix in (("signed ", ""), ("unsigned ", "u"))
    )
    + "typedef unsigned long uintptr_t;\n#define INT32_MAX 2147483647\n#define UINT64_C(x) x##ul\n",
    "math.h": "#define INFINITY __int_as_float(0x7f800000)\n",
    "string.h": "",
    "stdio.h": "",
    "stdlib.h": "",
    "host.h": """
#define thread_local
#define getenv(name) ((const char *)nullptr)
#define strcmp(a, b) 0
#define cudaLaunchKernel(...) ((void)pointers, cudaSuccess)
#define cudaFuncSetAttribute(...) cudaSuccess
#define cudaGetLastError() cudaSuccess
#define cudaMalloc(...) cudaSuccess
#define cudaMemsetAsync(...) cudaSuccess
""",
}


def missing(message: str) -> None:
    print(f"other_compiler: {message}", file=sys.stderr)
    sys.exit(3)


class Compiler:
    def __init__(self, toolkit: Path):
        found = sorted(p for p in toolkit.glob("lib64/libnvrtc.so.*") if "builtins" not in p.name)
        if not found:
            missing(f"{toolkit}/lib64 has no libnvrtc.so.*")
        self.include = toolkit / "include"
        for name in ("cuda_bf16.h", "cublas_v2.h", "crt/host_defines.h"):
            if not (self.include / name).exists():
                missing(f"{self.include} has no {name}")
        self.library = ctypes.CDLL(str(found[0]))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def text(self, program, size: str, get: str) -> str:
        length = ctypes.c_size_t()
        getattr(self.library, size)(program, ctypes.byref(length))
        buffer = ctypes.create_string_buffer(length.value)
        getattr(self.library, get)(program, buffer)
        return buffer.value.decode(errors="replace")

    def compile(self, source: Path, architecture: str) -> tuple[bool, str]:
        """Whether it compiles, and the messages of the compiler and ptxas."""
        options = [f"-I{self.include}", f"-I{FOLDER}", "--std=c++17", f"--gpu-architecture={architecture}"]
        options += ["-default-device", "-w", "--pre-include=host.h"]
        if architecture.startswith("sm_"):
            options.append("--ptxas-options=-v")
        program, count = ctypes.c_void_p(), len(HEADERS)
        self.library.nvrtcCreateProgram(
            ctypes.byref(program),
            source.read_bytes(),
            str(source).encode(),
            count,
            (ctypes.c_char_p * count)(*[text.encode() for text in HEADERS.values()]),
            (ctypes.c_char_p * count)(*[name.encode() for name in HEADERS]),
        )
        words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = self.library.nvrtcCompileProgram(program, len(options), words)
        log = self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return status == 0, log


def parse_host_code(toolkit: Path, source: Path) -> str:
    """clang++'s errors in the file's host code: the calls of the runtime and of cuBLAS."""
    command = ["clang++", "-x", "cuda", "--cuda-host-only", "-std=c++17", f"--cuda-path={toolkit}", "-nocudalib"]
    # clang's own texture header needs declarations that CUDA 12 removed
    command += ["-Wno-unknown-cuda-version", "-D__CLANG_CUDA_TEXTURE_INTRINSICS_H__"]
    command += ['-DEAB_CUDA_ARCHITECTURES=""', '-DEAB_CUDA_LIBRARY_DIR=""', "-fsyntax-only", str(source)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stderr


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    toolkit, architectures = Path(sys.argv[1]), sys.argv[2:] or ARCHITECTURES
    compiler, wrong = Compiler(toolkit), 0
    host = shutil.which("clang++") is not None
    for source in sorted(FOLDER.glob("*.cu")):
        errors = parse_host_code(toolkit, source) if host else ""
        if errors:
            print(f"{source.name}: host code: {errors[:2000]}")
            wrong += 1
        if source.name in NO_KERNELS | ONE_LINE_KERNELS:
            print(f"{source.name:34} host only" if host else f"{source.name:34} skipped", flush=True)
            continue
        for architecture in architectures:
            compiled, log = compiler.compile(source, architecture)
            kernels = len(re.findall(r"Compiling entry function", log))
            spilling = len(re.findall(r"[1-9]\d* bytes spill stores", log))
            wrong += not compiled or spilling > 0
            result = f"{kernels} kernels, {spilling} spill" if architecture.startswith("sm_") else "PTX"
            print(f"{source.name:34} {architecture:11} {result if compiled else log[:2000]}", flush=True)
    print(f"CUDA {compiler.version}: {wrong} wrong{'' if host else '; no clang++ for the host code'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
