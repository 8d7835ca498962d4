# The one place that decides whether qlora-mpi.so is built, which the program loads where it is started as one of many
# processes (trainer/ranks/ranks_module.h). Sets QLORA_HAS_MPI.
# AUTO: where CMake finds MPI; ON: an error where it finds none; OFF: never looks.
if(NOT QLORA_MPI MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "QLORA_MPI=${QLORA_MPI}; expected AUTO, ON or OFF")
endif()

# Where the program finds it once installed, from its own directory.
set(MPI_MODULE_DIR ${CMAKE_INSTALL_FULL_LIBDIR}/qlora-train)
file(RELATIVE_PATH MPI_MODULE_FROM_PROGRAM ${CMAKE_INSTALL_FULL_BINDIR} ${MPI_MODULE_DIR})

set(QLORA_HAS_MPI OFF)
if(QLORA_MPI STREQUAL "OFF")
  return()
endif()
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI QUIET COMPONENTS C)
if(NOT MPI_C_FOUND)
  if(QLORA_MPI STREQUAL "ON")
    message(FATAL_ERROR "QLORA_MPI=ON: no MPI was found (MPI_HOME says where one is)")
  endif()
  message(STATUS "One process a run: no MPI was found")
  return()
endif()
set(QLORA_HAS_MPI ON)

function(add_mpi_module)
  add_library(qlora-mpi MODULE ${CMAKE_SOURCE_DIR}/trainer/ranks/mpi_module.c)
  set_target_properties(qlora-mpi PROPERTIES PREFIX "" SUFFIX .so LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_include_directories(qlora-mpi PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(qlora-mpi PRIVATE MPI::MPI_C)
  install(TARGETS qlora-mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/qlora-train COMPONENT mpi)
endfunction()
