# Facts of the build for the manifest: version, commit, compiler, flags, in build_info.h.
# Included by host/CMakeLists.txt it adds the target eab_build_info, which runs this same file as a script at every
# build; the header changes only when the facts do. At run time no git is needed.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" EAB_BUILD_TYPE)
  string(STRIP "${CMAKE_BUILD_TYPE}: ${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${EAB_BUILD_TYPE}}" EAB_BUILD_FLAGS)
  if(EAB_SANITIZE)
    string(APPEND EAB_BUILD_FLAGS " -fsanitize=${EAB_SANITIZE}")
  endif()
  string(REGEX REPLACE " +" " " EAB_BUILD_FLAGS "${EAB_BUILD_FLAGS}")
  add_custom_target(eab_build_info
    COMMAND ${CMAKE_COMMAND} "-DSOURCE=${PROJECT_SOURCE_DIR}" "-DOUTPUT=${CMAKE_CURRENT_BINARY_DIR}/build_info.h"
      "-DVERSION=${PROJECT_VERSION}" "-DCOMPILER=${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}"
      "-DFLAGS=${EAB_BUILD_FLAGS}" -P "${CMAKE_CURRENT_LIST_DIR}/build_info.cmake"
    BYPRODUCTS "${CMAKE_CURRENT_BINARY_DIR}/build_info.h"
    COMMENT "" VERBATIM)
  add_dependencies(eab_host eab_build_info)
  target_include_directories(eab_host PRIVATE "${CMAKE_CURRENT_BINARY_DIR}")
  return()
endif()

# A checkout of our own only: a source archive inside some other repository has no commit.
set(commit "")
find_program(GIT git)
if(GIT AND EXISTS "${SOURCE}/.git")
  execute_process(COMMAND ${GIT} -C "${SOURCE}" rev-parse --short=12 HEAD
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  execute_process(COMMAND ${GIT} -C "${SOURCE}" --no-optional-locks status --porcelain --untracked-files=no
    OUTPUT_VARIABLE changes ERROR_QUIET)
  if(commit AND changes)
    string(APPEND commit "-dirty")
  endif()
endif()

set(text "/* Written by build_info.cmake. */\n")
foreach(pair "VERSION=${VERSION}" "COMMIT=${commit}" "COMPILER=${COMPILER}" "FLAGS=${FLAGS}")
  string(FIND "${pair}" "=" at)
  string(SUBSTRING "${pair}" 0 ${at} name)
  math(EXPR at "${at} + 1")
  string(SUBSTRING "${pair}" ${at} -1 value)
  string(REGEX REPLACE "([\\\"])" "\\\\\\1" value "${value}")
  string(APPEND text "#define EAB_BUILD_${name} \"${value}\"\n")
endforeach()
set(old "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" old)
endif()
if(NOT old STREQUAL text)
  file(WRITE "${OUTPUT}" "${text}")
endif()
