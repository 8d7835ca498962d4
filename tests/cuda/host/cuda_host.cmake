# The CUDA backend compiled for the host: against the emulator of this folder instead of CUDA, and its cuBLASLt and NCCL.
# Object libraries, since what they define must win over the same names in the qlora library.
file(GLOB CUDA_KERNELS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cuda/*.cu)
file(GLOB CUDA_EMULATOR CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cuda/host/*.cc)
# Here, in tests/, a kernel file is C++; in the directory above it is CUDA.
file(GLOB CUDA_FAULTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cuda/host/faults/*.cu)
set_source_files_properties(${CUDA_KERNELS} ${CUDA_FAULTS} PROPERTIES LANGUAGE CXX)
set_property(SOURCE ${CMAKE_SOURCE_DIR}/cuda/backend_cuda.cu APPEND PROPERTY COMPILE_DEFINITIONS QLORA_NCCL)

# Kernels as nvcc sees them: a uint4 may be read as eight bf16, and #pragma unroll is known. -O1 compiles in half the
# time of -O2 and runs nearly as fast: most of the time goes into changing fibers. Misaligned vector access, which a
# GPU refuses, ends the program here too.
set(CUDA_KERNEL_OPTIONS -x c++ -O1 -fno-strict-aliasing -Wno-unknown-pragmas -fsanitize=alignment
  -fno-sanitize-recover=alignment)

# Buffers small enough that what is done piece by piece takes several, and quick to fill.
set(CUDA_HOST_SIZES CUDA_BLAS_BYTES=65536 CUDA_MIXED_BYTES=65536 CUDA_DROPPED_BYTES=32768
  STAGING_PIECE=32768 JOIN_PIECE=4096 JOIN_LEAVE_SECONDS=3)

# Targets cuda_host<suffix>, to link with, and cuda_host_faults<suffix>, with further options for the kernels.
function(add_cuda_host suffix)
  add_library(cuda_host_emulator${suffix} OBJECT ${CUDA_EMULATOR})
  add_library(cuda_host_kernels${suffix} OBJECT ${CUDA_KERNELS})
  add_library(cuda_host_fault_kernels${suffix} OBJECT ${CUDA_FAULTS})
  foreach(part emulator kernels fault_kernels)
    target_include_directories(cuda_host_${part}${suffix} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/cuda/host)
    target_compile_definitions(cuda_host_${part}${suffix} PRIVATE ${CUDA_HOST_SIZES})
    target_link_libraries(cuda_host_${part}${suffix} PRIVATE qlora)
  endforeach()
  target_compile_options(cuda_host_kernels${suffix} PRIVATE ${CUDA_KERNEL_OPTIONS} ${ARGN})
  target_compile_options(cuda_host_fault_kernels${suffix} PRIVATE ${CUDA_KERNEL_OPTIONS} ${ARGN})

  add_library(cuda_host${suffix} INTERFACE)
  target_sources(cuda_host${suffix} INTERFACE $<TARGET_OBJECTS:cuda_host_emulator${suffix}>
    $<TARGET_OBJECTS:cuda_host_kernels${suffix}> $<TARGET_OBJECTS:cuda_host_backend>)
  target_link_libraries(cuda_host${suffix} INTERFACE qlora ${CMAKE_DL_LIBS})
  # -rdynamic: the backend looks for cuBLASLt and NCCL in the program.
  target_link_options(cuda_host${suffix} INTERFACE -rdynamic -fsanitize=alignment ${ARGN})

  add_executable(cuda_host_faults${suffix} $<TARGET_OBJECTS:cuda_host_emulator${suffix}>
    $<TARGET_OBJECTS:cuda_host_fault_kernels${suffix}>)
  target_link_libraries(cuda_host_faults${suffix} PRIVATE qlora)
  target_link_options(cuda_host_faults${suffix} PRIVATE -fsanitize=alignment ${ARGN})
endfunction()

# What the library has otherwise: trainer/run/backend_open.c as a build with CUDA compiles it, and the workspace of these sizes.
add_library(cuda_host_backend OBJECT ${CMAKE_SOURCE_DIR}/trainer/run/backend_open.c ${CMAKE_SOURCE_DIR}/cuda/workspace.c)
target_compile_definitions(cuda_host_backend PRIVATE QLORA_CUDA ${CUDA_HOST_SIZES})
target_link_libraries(cuda_host_backend PRIVATE qlora)

add_cuda_host("")

# Kernels, and they alone, under ThreadSanitizer: each thread of a block is a thread to it, blocks are not ordered.
if(NOT QLORA_SANITIZE)
  add_cuda_host(_tsan -fsanitize=thread)
  foreach(part emulator kernels fault_kernels)
    target_compile_definitions(cuda_host_${part}_tsan PRIVATE CUDA_HOST_TSAN)
  endforeach()
endif()

# The whole program with device.backend cuda on the emulated GPU, for the command line tests.
add_program(qlora-train-cudahost cuda_host)
if(QLORA_HAS_MPI)
  add_dependencies(qlora-train-cudahost qlora-mpi)    # which lies beside it: tests/CMakeLists.txt
endif()
