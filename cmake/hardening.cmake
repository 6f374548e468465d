# Hardening options for host/, which reads files from others; tests/scripts/test_hardening.py checks the result. The
# kernels read no files; they are configured before this file is included and keep their speed. Debug builds are not
# hardened, since checked copies need optimisation, nor are builds with sanitizers, which check more.
include(CheckCCompilerFlag)
include(CheckPIESupported)
if(NOT EAB_HARDEN OR EAB_SANITIZE OR EAB_FUZZ OR NOT EAB_HOST
   OR NOT CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo|MinSizeRel)$")
  return()
endif()
check_pie_supported(LANGUAGES C)

# Some compilers define a level themselves, which must be undefined first. Level 3 also checks sizes that are known only
# at run time; gcc before 12 does not have it, and glibc then warns.
set(fortify 3)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_C_COMPILER_VERSION VERSION_LESS 12)
  set(fortify 2)
endif()
add_compile_options("$<${c_only}:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=${fortify}>")
foreach(option stack-protector-strong stack-clash-protection cf-protection)
  string(MAKE_C_IDENTIFIER "EAB_HAS_${option}" known)
  check_c_compiler_flag(-f${option} ${known})
  if(${known})
    add_compile_options("$<${c_only}:-f${option}>")
  endif()
endforeach()
add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
