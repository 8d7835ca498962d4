# A program that reads files of strangers ends where a memory error begins, rather than doing what the file says.
# tests/cli/hardening.sh looks whether a Release build has it all. Sanitizers have better means of their own.
include(CheckCCompilerFlag)
# Not CMAKE_POSITION_INDEPENDENT_CODE, which is -fPIC in a static library: it keeps functions from being inlined. Modules and
# shared libraries have that property themselves.
set(NOT_PIC "$<NOT:$<BOOL:$<TARGET_PROPERTY:POSITION_INDEPENDENT_CODE>>>")
add_compile_options("$<$<AND:${NOT_PIC},$<COMPILE_LANGUAGE:C,CXX>>:-fPIE>"
  "$<$<AND:${NOT_PIC},$<COMPILE_LANGUAGE:CUDA>>:-Xcompiler=-fPIE>")
string(APPEND CMAKE_EXE_LINKER_FLAGS " -pie")
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
