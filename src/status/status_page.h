/*
 * The page for people, which the status actor shows at "/": one file that needs nothing else but
 * /api/info. It is status_page.html, as it stands; it shows and never acts.
 */
#ifndef STATUS_STATUS_PAGE_H
#define STATUS_STATUS_PAGE_H

/* The file, with a NUL behind it. */
extern const char status_page_html[];

/*
 * The header Content-Security-Policy: this script and this style and no others, which is what their
 * hashes say, and nothing from anywhere else. tests/unit/test_status_page.c says which they are.
 */
#define STATUS_PAGE_POLICY                                                                         \
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "                     \
    "form-action 'none'; frame-ancestors 'none'; "                                                 \
    "script-src 'sha256-bIJH6SEI3LVlBB1axYFVziIhkBTFGvF2BWDmqUyhSSY='; "                           \
    "style-src 'sha256-EyFQETh8cFeJ8Qo98ySQuiwU6yN7qL9upBSoxAya+5o='"

#endif
