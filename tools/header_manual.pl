#!/usr/bin/perl
# A manual page (mdoc) out of an installed header, whose comments are its documentation:
#
#     header_manual.pl NAME HEADER         prints the page NAME(3)
#     header_manual.pl --names HEADER      prints the functions, a line each
#
# The comment at the top becomes DESCRIPTION, "/* ---- words ---- */" a heading, and every declaration
# is shown as it is, behind the comment that stands above it. A comment is either one block or begins
# with "name - what it does" and goes on with "@argument  what it is".
use strict;
use warnings;

my $names_only = @ARGV && $ARGV[0] eq '--names';
shift @ARGV if $names_only;
my $name = $names_only ? '' : shift @ARGV;
my $header = shift @ARGV // die "header_manual.pl: which header?\n";
my @also = ('arbiter-actor 3', 'arbiter-config 3', 'arbiter-control 3', 'arbiter-frame 3', 'arbiter-protocol 3',
    'arbiter-server 3', 'arbiter-testing 3', 'libarbiter-client 3', 'arbiter-tutorial 7');
open(my $file, '<', $header) or die "header_manual.pl: $header: $!\n";
my @lines = <$file>;
close($file);
chomp @lines;

# ---- pieces: [comment lines], [code lines] ----

my (@pieces, @comment, @code);
my $depth = 0;

sub flush_piece
{
    push @pieces, {comment => [@comment], code => [@code]} if @comment || @code;
    @comment = @code = ();
}

sub is_noise
{
    my ($text) = @_;
    return $text =~ /^#\s*(ifndef|define) \w+_H$/ || $text =~ /^#\s*(include|if|ifdef|ifndef|else|endif|pragma)\b/ ||
        $text eq 'extern "C" {';
}

for (my $i = 0; $i < @lines; $i++) {
    my $text = $lines[$i];

    next if $text =~ /clang-format/;
    if (!@code && $depth == 0 && is_noise($text)) {
        $i++ while $lines[$i] =~ /\\$/;
        next;
    }
    next if !@code && $text eq '}';
    if (!@code && $depth == 0 && $text =~ m{^/\*}) {
        flush_piece() if @comment;
        push @comment, $text;
        push @comment, $lines[++$i] while $lines[$i] !~ m{\*/\s*$} && $i < $#lines;
        next;
    }
    if ($text eq '' && $depth == 0) {
        flush_piece();
        next;
    }
    push @code, $text;
    $depth += ($text =~ tr/{//) - ($text =~ tr/}//);
    flush_piece() if $depth == 0 && $text =~ /;\s*(\/\*.*)?$/ && ($lines[$i + 1] // '') =~ m{^/\*};
}
flush_piece();

# The functions that a piece of code declares, and macros that are called like functions.
sub functions_of
{
    my $code = join("\n", @_);
    my @found;

    push @found, $1 while $code =~ /^#define (arb_\w+)\(/mg;
    return @found if $code =~ /^\s*(struct \w+ \{|enum\b|typedef\b|static\b)/;
    $code =~ s/\([^;]*?\)\s*;/(;/gs; # arguments, which may be functions themselves
    push @found, $1 while $code =~ /^[A-Za-z][^#(\n]*\b(arb_\w+)\s*\(/mg;
    return @found;
}

if ($names_only) {
    my %seen;
    for my $piece (@pieces) {
        print "$_\n" for grep { !$seen{$_}++ } functions_of(@{$piece->{code}});
    }
    exit 0;
}

# ---- roff ----

sub escape_roff
{
    my ($text) = @_;
    $text =~ s/\\/\\e/g;
    $text =~ s/^([.'])/\\&$1/;
    $text =~ s/"/\\(dq/g;
    return $text;
}

# The words of a comment, without its stars; paragraphs and @arguments stay lines of their own.
sub text_of
{
    my @text = @_;
    s{^\s*/?\*+/?\s?}{}, s{\s*\*/\s*$}{} for @text;
    shift @text while @text && $text[0] =~ /^\s*$/;
    pop @text while @text && $text[-1] =~ /^\s*$/;
    return @text;
}

# A paragraph, each sentence on a line of its own as mdoc wants it.
sub print_words
{
    my $words = join(' ', map { s/^\s+|\s+$//gr } @_);
    return if $words eq '';
    for my $sentence (split(/(?<=[^.][.!?])\s+(?=[A-Z"`\@])/, $words)) {
        my $text = escape_roff($sentence);
        $text =~ s/`([^`]+)`|\@(\w+)/'\\fI' . ($1 || $2) . '\\fR'/ge;
        print "$text\n";
    }
}

sub print_text
{
    my (@paragraph, $is_list);

    for my $text (@_) {
        if ($text =~ /^\@([\w,@]+)\s+(.*)$/) {
            my ($what, $rest) = ($1, $2);
            print_words(splice @paragraph);
            print ".Bl -tag -width Ds -compact\n" unless $is_list;
            $is_list = 1;
            print ".It Fa ", $what =~ s/\@//gr =~ s/,/ , /gr, "\n";
            @paragraph = ($rest);
        } elsif ($is_list && ($text =~ /^\s+\S/ || ($text =~ /^[^\s@]/ && $text !~ /^Returns\b/ && $paragraph[-1] !~ /[.!?]$/))) {
            push @paragraph, $text;
        } else {
            my $is_new = $text =~ /^\s*$/ || $text =~ /^Returns\b/;
            if ($is_list || $is_new) {
                my $had = @paragraph;
                print_words(splice @paragraph);
                print ".El\n" if $is_list;
                print ".Pp\n" if $had;
                $is_list = 0;
            }
            push @paragraph, $text unless $text =~ /^\s*$/;
        }
    }
    print_words(@paragraph);
    print ".El\n" if $is_list;
}

sub print_code
{
    print ".Bd -literal\n";
    print escape_roff($_), "\n" for @_;
    print ".Ed\n";
}

my $short = $header =~ s{^.*include/}{}r;
my $top = shift @pieces;
my @top = text_of(@{$top->{comment}});
my ($one_line) = join(' ', @top) =~ /^[\w-]+: (.*?[^.])[.](?: |$)/;
die "$header: the comment at the top does not begin with 'library: sentence.'\n" unless $one_line;

print ".\\\" Made from $short by tools/header_manual.pl: change the header.\n";
print ".Dd November 30, 2026\n.Dt ", uc $name, " 3\n.Os\n.Sh NAME\n.Nm $name\n.Nd ", escape_roff($one_line), "\n";
print ".Sh SYNOPSIS\n.In $short\n.Sh DESCRIPTION\n";
$top[0] =~ s/^[\w-]+: (\w)/\U$1/;
print_text(@top);
for my $piece (@pieces) {
    my @text = text_of(@{$piece->{comment}});

    if (@text == 1 && $text[0] =~ /^-+ (.*?) -+$/) {
        print ".Ss ", escape_roff(ucfirst $1), "\n";
        next;
    }
    my @functions = functions_of(@{$piece->{code}});
    print_code(@{$piece->{code}}) if @{$piece->{code}};
    if (@text && $text[0] =~ /^[\w, ]+? - (.*)$/ && @functions) {
        $text[0] = ucfirst $1;
    } elsif (@text && $text[0] =~ /^\w+$/ && @functions) {
        shift @text;
    }
    print_text(@text);
}
print ".Sh SEE ALSO\n";
@also = grep { $_ ne "$name 3" } @also;
print ".Xr $also[$_]", ($_ < $#also ? ' ,' : ''), "\n" for 0 .. $#also;
