# Debian packages, by `cpack -G DEB` in a build for /usr (scripts/package.sh): qlora-train, or qlora-train-cuda where the
# CUDA backend is built; the two exclude each other. What loads MPI is a package of its own, so that only who wants many
# processes gets MPI. cuBLAS, NCCL and the driver are loaded where they are found, so they are suggested only.
set(package qlora-train)
set(kind "for CPUs")
if(QLORA_HAS_CUDA)
  set(package qlora-train-cuda)
  set(kind "for CPUs and NVIDIA GPUs")
  set(cuda_version ${CUDAToolkit_VERSION_MAJOR}-${CUDAToolkit_VERSION_MINOR})
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONFLICTS qlora-train)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_REPLACES qlora-train)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_PROVIDES "qlora-train (= ${PROJECT_VERSION})")
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "libcuda1, libcublas-${cuda_version}, libnccl2")
else()
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONFLICTS qlora-train-cuda)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_REPLACES qlora-train-cuda)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "qlora-train-mpi (= ${PROJECT_VERSION})")
endif()

# Who makes packages for others says who that is, as for Debian's own tools: DEBFULLNAME and DEBEMAIL.
set(maintainer "qlora-train maintainers <maintainers@localhost>")
if(DEFINED ENV{DEBEMAIL})
  set(maintainer "qlora-train maintainers <$ENV{DEBEMAIL}>")
  if(DEFINED ENV{DEBFULLNAME})
    set(maintainer "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
  endif()
endif()

# Debian's changelog, of this version alone: what is new is told in CHANGELOG.md. Its time is SOURCE_DATE_EPOCH, if set.
string(TIMESTAMP packaged_at "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/debian/changelog CONTENT
"qlora-train (@PROJECT_VERSION@) unstable; urgency=medium

  * Version @PROJECT_VERSION@; what is new is in /usr/share/doc/@package@/CHANGELOG.md.

 -- @maintainer@  @packaged_at@
" @ONLY)
find_program(GZIP gzip REQUIRED)
execute_process(COMMAND ${GZIP} -9nf changelog WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/debian COMMAND_ERROR_IS_FATAL ANY)
# An example job, which is handed to sbatch.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/debian/overrides CONTENT
"@package@: script-not-executable [usr/share/qlora-train/configs/slurm.sbatch]\n" @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/debian/overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME ${package}
  COMPONENT program EXCLUDE_FROM_ALL)
function(install_debian_docs name component)
  install(FILES cmake/debian-copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} RENAME copyright
    COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(FILES ${CMAKE_BINARY_DIR}/debian/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endfunction()
install_debian_docs(${package} program)
install_debian_docs(qlora-train-mpi mpi)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME qlora-train)
set(CPACK_PACKAGE_CONTACT "${maintainer}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL program)
if(QLORA_HAS_MPI AND NOT QLORA_HAS_CUDA)    # the same file in both builds
  list(APPEND CPACK_COMPONENTS_ALL mpi)
endif()
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME ${package})
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "fine-tunes language models with QLoRA, ${kind}
Holds a base model in 4 bits (NF4) and trains LoRA adapters on its linear
layers, driven by one YAML file. Reads Hugging Face directories and GGUF
files, resumes bit for bit, and writes adapters and merged models that PEFT,
transformers and llama.cpp load.")
set(CPACK_DEBIAN_MPI_PACKAGE_NAME qlora-train-mpi)
set(CPACK_DEBIAN_MPI_PACKAGE_DEPENDS "qlora-train (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_MPI_PACKAGE_RECOMMENDS openmpi-bin)
set(CPACK_COMPONENT_MPI_DESCRIPTION "runs of many processes for qlora-train
The module by which qlora-train shares out a training among processes that
mpirun or srun started. Without it a run is one process.")
# The source is scripts/source.sh's: CPack would take all that lies in the directory, models and runs too.
foreach(kind TBZ2 TGZ TXZ TZ)
  set(CPACK_SOURCE_${kind} OFF)
endforeach()
include(CPack)
