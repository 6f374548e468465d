# What a program that reads other people's files is built with, where the compiler knows it; tests/scripts/test_hardening.py reads
# the result. It is included behind the kernels, which read nothing from outside and are left as they are: so their speed is. Not
# in Debug builds, whose -O0 knows no checked copies, nor with sanitizers, which check more.
include(CheckCCompilerFlag)
include(CheckPIESupported)
if(NOT EAB_HARDEN OR EAB_SANITIZE OR EAB_FUZZ OR NOT EAB_HOST OR NOT CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo|MinSizeRel)$")
  return()
endif()
check_pie_supported(LANGUAGES C)

# Some systems' compilers set a level of their own, which is to be undone first. Level 3 counts sizes that are known only at run
# time, too (gcc 12, clang 15 with glibc 2.34); where that is not known it is as 2.
add_compile_options("$<${c_only}:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>")
foreach(option stack-protector-strong stack-clash-protection cf-protection)
  string(MAKE_C_IDENTIFIER "EAB_HAS_${option}" known)
  check_c_compiler_flag(-f${option} ${known})
  if(${known})
    add_compile_options("$<${c_only}:-f${option}>")
  endif()
endforeach()
add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
