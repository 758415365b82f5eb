#!/bin/bash
# The manual pages as HTML, linked with each other and from an index: html.sh FOLDER PAGE...
set -euo pipefail
folder=$1
shift
# mandoc makes a link of ours where the page itself lies beside it, and one to Debian's pages elsewhere.
rm -rf "$folder"
mkdir -p "$folder/pages"
cp "$@" "$folder/pages"
cp man/style.css "$folder"
cd "$folder/pages"

section_title()
{
    case $1 in
    1) echo 'Commands' ;;
    3) echo 'Libraries' ;;
    5) echo 'Files' ;;
    7) echo 'Protocols and tutorials' ;;
    8) echo 'Servers' ;;
    esac
}

{
    echo '<!DOCTYPE html>'
    echo '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1.0">'
    echo '<link rel="stylesheet" href="style.css"><title>echo-arbiter: the manual</title></head><body><h1>echo-arbiter: the manual</h1>'
    for section in 8 1 5 7 3; do
        echo "<h2>$(section_title $section)</h2><dl>"
        for page in *."$section"; do
            echo "<dt><a href=\"$page.html\">${page%.*}($section)</a></dt>"
            echo "<dd>$(sed -n 's/^\.Nd //p' "$page" | head -n 1 | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g')</dd>"
        done
        echo '</dl>'
    done
    echo '</body></html>'
} >../index.html

for page in *; do
    mandoc -T html -O 'man=%N.%S.html;https://manpages.debian.org/%N.%S,style=style.css' "$page" |
        sed 's,^<body>,&\n<p class="index"><a href="index.html">echo-arbiter: the manual</a></p>,' >"../$page.html"
done
rm -r "$PWD"
