# What the program prints of itself for editors, shells and man, installed where those look for it. Where the program cannot
# be run it is left out.
set(QLORA_ZSH_COMPLETIONS ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING
  "Where completion for zsh is installed; Debian's packages have share/zsh/vendor-completions")
if(CMAKE_CROSSCOMPILING OR QLORA_FUZZ)
  return()
endif()

set(PRINTED)
function(install_printed what file destination)
  set(path ${CMAKE_BINARY_DIR}/printed/${file})
  add_custom_command(OUTPUT ${path} DEPENDS qlora-train VERBATIM
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/printed
    COMMAND qlora-train print ${what} > ${path}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${path}.new ${path})
  set(PRINTED ${PRINTED} ${path} PARENT_SCOPE)
  if(destination)
    install(FILES ${path} DESTINATION ${destination})
  endif()
endfunction()
install_printed(schema config.schema.json ${CMAKE_INSTALL_DATADIR}/qlora-train)
install_printed(completion-bash qlora-train ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install_printed(completion-zsh _qlora-train ${QLORA_ZSH_COMPLETIONS})
install_printed(completion-fish qlora-train.fish ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

find_program(GZIP gzip REQUIRED)
install_printed(man qlora-train.1 "")
set(MAN_PAGE ${CMAKE_BINARY_DIR}/printed/qlora-train.1)
add_custom_command(OUTPUT ${MAN_PAGE}.gz DEPENDS ${MAN_PAGE} VERBATIM
  COMMAND ${GZIP} -9n < ${MAN_PAGE} > ${MAN_PAGE}.gz)
install(FILES ${MAN_PAGE}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

add_custom_target(printed ALL DEPENDS ${PRINTED} ${MAN_PAGE}.gz)
