# Run at every build: writes OUTPUT, a header with the commit of SOURCE, and leaves the file alone while that stays the
# same, so that nothing is compiled anew. In what `git archive` wrote, git has put the commit into cmake/archived_commit;
# the Containerfile's COMMIT goes there too.
# "unknown" where SOURCE is neither that nor a git checkout of its own, or git does not say.
cmake_minimum_required(VERSION 3.20)
set(commit unknown)
find_program(GIT git)
if(GIT AND EXISTS "${SOURCE}/.git")
  execute_process(COMMAND ${GIT} describe --always --dirty WORKING_DIRECTORY "${SOURCE}" OUTPUT_VARIABLE described
    ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
  if(status EQUAL 0 AND described MATCHES "^[-+.0-9A-Za-z_/]+$")
    set(commit ${described})
  endif()
elseif(NOT EXISTS "${SOURCE}/.git" AND EXISTS "${SOURCE}/cmake/archived_commit")
  file(STRINGS "${SOURCE}/cmake/archived_commit" archived)
  if(archived MATCHES "^[-+.0-9A-Za-z_/]+$")
    set(commit ${archived})
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT "#define QLORA_COMMIT \"@commit@\"\n" @ONLY)
