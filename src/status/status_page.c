/*
 * The page as an object: the assembler reads the file.
 */
#include "status/status_page.h"

__asm__(".pushsection .rodata\n"
        ".globl status_page_html\n"
        ".hidden status_page_html\n"
        ".type status_page_html, %object\n"
        "status_page_html:\n"
        ".incbin \"src/status/status_page.html\"\n"
        ".byte 0\n"
        ".size status_page_html, . - status_page_html\n"
        ".popsection\n");
