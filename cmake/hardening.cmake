# A program that reads files of strangers ends where a memory error begins, rather than doing what the file says.
# tests/cli/hardening.sh looks whether a Release build has it all. Sanitizers have better means of their own.
include(CheckCCompilerFlag)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C CXX)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
add_link_options(LINKER:-z,relro,-z,now,-z,noexecstack)
if(NOT QLORA_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-fstack-protector-strong>")
  # Some distributions' compilers define it already, with another number; it takes optimization.
  add_compile_options("$<$<AND:$<COMPILE_LANGUAGE:C,CXX>,$<CONFIG:Release,RelWithDebInfo>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
  check_c_compiler_flag(-fcf-protection HAS_CF_PROTECTION)    # processors of x86 only
  if(HAS_CF_PROTECTION)
    add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-fcf-protection>")
  endif()
endif()
