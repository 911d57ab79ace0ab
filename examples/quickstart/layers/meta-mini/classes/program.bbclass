# A program made of C files: all of ${PROGRAM_SOURCES} in ${S} become one
# executable called ${PN}.

PROGRAM_SOURCES ?= "*.c"
PROGRAM_DEFINES ?= ""

program_do_compile() {
    cd ${S}
    # Sorted, so that the linker sees the files in the same order everywhere.
    ${CC} ${CFLAGS} ${PROGRAM_DEFINES} -o ${B}/${PN} $(ls ${PROGRAM_SOURCES} | LC_ALL=C sort) ${LDFLAGS}
}

program_do_install() {
    install -D -m 0755 ${B}/${PN} ${D}${bindir}/${PN}
}

program_do_deploy() {
    install -m 0644 ${D}${bindir}/${PN} ${DEPLOYDIR}/${PN}
}

EXPORT_FUNCTIONS do_compile do_install do_deploy
