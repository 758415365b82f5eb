# echo-arbiter: everything is made below build/. `make help` lists the targets.
#
# The public targets that need packages or another set of flags call this file again (`sub`), so
# that nothing is probed before the packages are there. Flags are probed once a compiler
# (tools/probe.sh) and kept; a changed command line rebuilds what it concerns, an unchanged one nothing.

VERSION     := 0.1.0
prefix      ?= $(or $(PREFIX),/usr/local)
bindir      ?= $(prefix)/bin
sbindir     ?= $(prefix)/sbin
mandir      ?= $(prefix)/share/man
docdir      ?= $(prefix)/share/doc/echo-arbiter
includedir  ?= $(prefix)/include
libdir      ?= $(prefix)/lib
bashdir     ?= $(prefix)/share/bash-completion/completions
zshdir      ?= $(prefix)/share/zsh/site-functions
schemadir   ?= $(prefix)/share/echo-client
unitdir     ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
# Where a server looks for its configuration is a part of the program.
sysconfdir  ?= $(if $(filter /usr /usr/local,$(prefix)),/etc,$(prefix)/etc)
confdir     ?= $(sysconfdir)/echo-arbiter
logrotatedir ?= $(sysconfdir)/logrotate.d
B           ?= build
ifeq ($(origin CC),default)
CC          := gcc
endif
OPT         ?= -O2 -g
WERROR      ?=
SAN         ?=
SHARED      ?=
FUZZ_SECONDS ?= 60
SOAK_ROUNDS ?= 10

Q    := $(if $(filter 1,$(V)),,@)
say   = $(if $(Q),printf '  %-7s %s\n' '$(1)' '$(patsubst $(B)/%,%,$(2))';)
jobs  = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
sub   = $(MAKE) --no-print-directory $(jobs)
need  = @tools/need.sh build $(if $(findstring clang,$(CC)),clang) $(1)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# ---- what people call ----

.PHONY: all run check check-status it unit lint asan ubsan memcheck fuzz soak prove conformance bench bench-pairs bench-scale \
        bench-wakeups bench-flood container-check html deb deb-check install uninstall clean help
INNER := all install _html _conformance _built _fuzz-built _check _check-status _it _unit _memcheck _lint _fuzz _soak _prove _bench _bench-pairs _bench-scale \
         _bench-wakeups _bench-flood

help:
	@echo 'make            build build/echo-arbiter and build/echo-client'
	@echo 'make run        install what is missing, build, serve conf/echo.conf in the foreground'
	@echo 'make check      install what is missing, run all tests; the last line is the sum'
	@echo 'make check-status  install a browser and promtool, and run the tests of status.bind with them'
	@echo 'make unit, it   only the unit tests, only the integration tests'
	@echo 'make lint       format, static analysis, layers, circles, manuals, documents against tables'
	@echo 'make asan ubsan the tests under a sanitizer (SAN=address,undefined: under both)'
	@echo 'make memcheck   libarbiter-client and echo-client under valgrind'
	@echo 'make fuzz       fuzz each target for FUZZ_SECONDS=$(FUZZ_SECONDS) (clang)'
	@echo 'make soak       the integration tests SOAK_ROUNDS=$(SOAK_ROUNDS) times, with many repetitions'
	@echo 'make prove      connections outlive processes, at full length: reload, scale, recycle, kill, crash, upgrade'
	@echo 'make conformance ADDR=127.0.0.1:8060  any server against the protocol, case by case (MAX_MESSAGE=16MiB: its limit)'
	@echo 'make bench      this server beside the frozen floor and peers: tables, build/bench/report.md (QUICK=1: 3 minutes)'
	@echo 'make bench-pairs  two configurations of the server in pairs: keepers, sandbox, or ON="arbiter: {...};" OFF="..."'
	@echo 'make bench-scale  CONNECTIONS=10000 held over reload, scaling and upgrade: their cost, their waits, the lost'
	@echo 'make bench-wakeups  what a new connection wakes, by number of workers'
	@echo 'make bench-flood  what a client that connects as fast as it can does to the others'
	@echo 'make container-check  the image of conf/container, built and run without a container engine (root, a Debian mirror)'
	@echo 'make html       the manual pages as HTML, in build/html'
	@echo 'make deb        the Debian packages, in build/deb'
	@echo 'make deb-check  build, install, upgrade and purge them in a fresh Debian (root, and a registry of packages)'
	@echo 'make install    below DESTDIR and prefix=$(prefix), with units and sysconfdir=$(sysconfdir); uninstall takes it away again'
	@echo 'make clean      remove build/'
	@echo 'Variables: V=1 CC=clang WERROR=-Werror OPT="-O0 -g" CFLAGS=... LDFLAGS=... B=build'

run:
	$(need)
	@$(sub) all
	@echo 'In a second shell:  $(B)/echo-client Hello!'
	@exec $(B)/echo-arbiter -c conf/echo.conf

check:
	$(call need,check deb)
	@$(sub) BESIDE=tests/deb/package.sh _check

# `check` does not install a browser and Prometheus, which takes a minute, but uses them where they are.
check-status:
	$(call need,check status)
	@$(sub) _check-status

it unit:
	@$(sub) _$@

lint:
	$(call need,lint clang)
	@$(sub) _lint

# Sanitized trees of their own. What is written is exactly as in a plain build, only slower. Servers of
# earlier commits are never sanitized: they are built once.
asan ubsan: export ECHO_OLD_BUILDS := $(abspath $(B)/old)
asan:
	$(call need,check)
	@$(sub) B='$(B)/$(if $(SAN),san,asan)' SAN='$(or $(SAN),address)' _check
ubsan:
	$(call need,check)
	@$(sub) B='$(B)/$(if $(SAN),san,ubsan)' SAN='$(or $(SAN),undefined)' _check

memcheck:
	$(call need,check memcheck)
	@$(sub) _memcheck

fuzz:
	$(call need,clang)
	@$(sub) B='$(B)/fuzz' CC=clang SAN=fuzzer,address,undefined _fuzz

soak:
	$(call need,check)
	@$(sub) _soak

prove:
	$(call need,check)
	@$(sub) _prove

# Not one of the inner targets: the packages are built from a copy of the tree, with dpkg's flags.
deb:
	$(call need,check deb)
	@tools/deb.sh $(B)/deb
	@lintian --allow-root --fail-on error,warning $(B)/deb/*.changes
deb-check:
	@tests/deb/deb_check.sh $(B)

html:
	$(call need,html)
	@$(sub) _html

conformance:
	$(need)
	@$(sub) _conformance

container-check:
	@tools/container_check.sh

bench bench-pairs bench-scale bench-wakeups bench-flood:
	$(call need,bench)
	@$(sub) _$@

clean:
	rm -rf $(B)

# `make clean all` cleans first, whatever -j says.
ifneq ($(filter clean,$(MAKECMDGOALS)),)
$(filter-out clean,$(MAKECMDGOALS)): | clean
endif

# ---- what is built from what ----

BIN_SRC := src/echo_arbiter/main.c $(wildcard src/cmd/echo_client*.c)
TESTING := $(wildcard src/testing/*.c)
SRC     := $(filter-out $(BIN_SRC) $(TESTING),$(wildcard src/*/*.c))
CONF    := $(B)/conformance
CONF_C  := $(filter-out %/main.c,$(wildcard tests/conformance/*.c))
SUP     := $(wildcard tests/support/*.c) $(CONF_C)
UNIT    := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
IT      := $(patsubst %.c,$(B)/%,$(wildcard tests/it/test_*.c))
FUZZ    := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH   := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/*.c))
TOOLS   := $(patsubst tests/tools/%.c,$(B)/tests/%,$(wildcard tests/tools/*.c))
BIN     := $(B)/echo-arbiter $(B)/echo-client
# The longest first, so that none of them is alone at the end.
LONG    := $(foreach t,unit/test_keep_rules it/test_upgrade it/test_upgrade_old it/test_hang it/test_supervise it/test_prove_kill it/test_keepers \
             it/test_rescue it/test_conformance unit/test_room it/test_prove it/test_own it/test_faults it/test_limits it/test_log_target it/test_late \
             unit/test_conn_request,$(filter %/$(t),$(UNIT) $(IT)))
TESTS   := $(LONG) $(filter-out $(LONG),$(IT) $(UNIT) $(FUZZ))
objects  = $(patsubst %.c,$(B)/%.o,$(1))

# The libraries: these sources and no others, from the objects that the programs have.
SERVER_SRC := $(wildcard $(patsubst %,src/%/*.c,base wire conf actor net kind keeper status worker log_writer arbiter server))
CLIENT_SRC := $(patsubst %,src/client/%.c,addresses call call_owner client connect connection connector \
             control_call control_queue deadlines events outcome pool reactor) \
           src/base/addr.c src/base/fds.c src/base/num.c $(wildcard src/wire/frame*.c)
LIBRARIES := arbiter arbiter-client
shared   = lib$(1).so.$(VERSION)
soname   = lib$(1).so.$(firstword $(subst ., ,$(VERSION)))
LIBRARY := $(foreach l,$(LIBRARIES),$(B)/$(call shared,$(l)) $(B)/lib$(l).a) $(B)/libarbiter-testing.a

# For authors' tests, static only: a worker that is pretended, and what of the real one is pure.
TESTING_SRC := $(TESTING) $(filter-out $(addprefix %/config_,file.c child.c codec.c diff.c errors.c owner.c text.c) %/trial.c,$(wildcard src/conf/*.c)) \
               $(patsubst %,src/base/%.c,addr cpu_quota cpus escape fds num runtime_path slip title) src/net/arb_frame.c $(wildcard src/wire/frame*.c)
# What is linked with that library, and not with the objects of the server.
EXAMPLES := $(wildcard examples/pubsub/*.c)
AUTHORS  := $(addprefix $(B)/tests/,unit/test_testing unit/test_pubsub fuzz/fuzz_pubsub it/test_redis_table)

# The comments of the installed headers are the manual of the libraries.
HEADER_MAN := $(patsubst include/arbiter/%.h,$(B)/man/arbiter-%.3,$(filter-out %/client.h,$(wildcard include/arbiter/*.h)))

COMPLETION := $(foreach s,bash zsh,$(B)/echo-client.$(s) $(B)/echo-arbiter.$(s))

all: $(BIN) $(CONF) $(LIBRARY) $(COMPLETION)

# What the shells know of a program is what it knows of itself.
$(filter $(B)/echo-client.%,$(COMPLETION)): $(B)/echo-client
$(filter $(B)/echo-arbiter.%,$(COMPLETION)): $(B)/echo-arbiter
$(COMPLETION): tools/completion.sh
	$(Q)tools/completion.sh $(subst .,,$(suffix $@)) $(basename $@) >$@

ifneq ($(filter $(INNER),$(or $(MAKECMDGOALS),all))$(filter $(B)/%,$(MAKECMDGOALS)),)

empty :=
PROBE := $(B)/probe-$(subst /,_,$(subst $(empty) ,_,$(CC))).mk
# Looked for here and not in a recipe: make would say in three lines more that it cannot go on.
MISSING := $(if $(wildcard $(PROBE)),,$(shell tools/need.sh -n build 2>&1))
$(if $(MISSING),$(error $(MISSING)))
ifeq ($(shell command -v $(firstword $(CC)) 2>/dev/null),)
$(error CC=$(CC): there is no compiler $(firstword $(CC)), known to work: gcc, clang)
endif
include $(PROBE)
$(PROBE): tools/probe.sh
	@mkdir -p $(@D)
	@tools/probe.sh $(CC) >$@

WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wformat=2
comma   := ,
ifeq ($(SAN),)
HARDEN   = $(PROBED_FORTIFY) $(PROBED_HARDEN)
else
# The fuzzer's own main is linked into the targets alone.
SANFLAGS := -fsanitize=$(subst fuzzer$(comma),fuzzer-no-link$(comma),$(SAN)) \
            -fno-omit-frame-pointer -fno-sanitize-recover=all -DARB_SANITIZED
# Lines and functions of a report, without what only a debugger wants: a fifth less to compile.
OPT      := -O1 -g1
HARDEN   :=
endif
CPPFLAGS_ALL = -iquotesrc -iquotetests -Iinclude -D_GNU_SOURCE -DECHO_VERSION='"$(VERSION)"'
# The same objects for programs and for libraries, shared and static.
COMPILE  = $(CC) -std=gnu11 -fPIC -fvisibility=hidden -fno-semantic-interposition $(OPT) $(WARN) $(WERROR) $(HARDEN) $(SANFLAGS) $(CPPFLAGS_ALL) \
           $(PROBED_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LINK     = $(CC) $(SANFLAGS) -pie -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)
LIBS     = -lev $(PROBED_LIBS) -lm

# Remembered texts: what depends on one is made again when it changes.
remember = $(if $(PROBED),$(if $(filter-out x,$(subst x$(strip $(2))x,x,x$(file <$(1))x)),$(shell \
           mkdir -p $(dir $(1)))$(file >$(1),$(strip $(2)))))
$(call remember,$(B)/compile.txt,$(COMPILE))
$(call remember,$(B)/link.txt,$(LINK) $(LIBS) $(SHARED))
$(call remember,$(B)/files.txt,$(SRC) $(SUP) $(BIN_SRC) $(TESTING_SRC))
$(call remember,$(B)/confdir.txt,$(confdir))
$(B)/compile.txt $(B)/link.txt $(B)/files.txt $(B)/confdir.txt:

$(B)/%.o: %.c $(B)/compile.txt
	@$(call say,CC,$<) mkdir -p $(@D)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

$(B)/src/echo_arbiter/main.o: CPPFLAGS_ALL += -DECHO_CONFIG='"$(confdir)/echo.conf"'
$(B)/src/echo_arbiter/main.o: $(B)/confdir.txt

# The page is a part of its object.
$(B)/src/status/status_page.o: src/status/status_page.html

$(B)/libecho.a: $(call objects,$(SRC)) $(B)/files.txt
$(B)/libsupport.a: $(call objects,$(SUP)) $(B)/files.txt
$(B)/libecho.a $(B)/libsupport.a:
	@$(call say,AR,$@) rm -f $@
	$(Q)ar rcs $@ $(filter %.o,$^)

# What the headers declare is what the libraries export: everything else is hidden (COMPILE).
$(B)/$(call shared,arbiter) $(B)/libarbiter.a: $(call objects,$(SERVER_SRC))
$(B)/$(call shared,arbiter): LIBS_$(B)/$(call shared,arbiter) = $(LIBS)
$(B)/$(call shared,arbiter-client) $(B)/libarbiter-client.a: $(call objects,$(CLIENT_SRC))
$(B)/$(call shared,arbiter-client): LIBS_$(B)/$(call shared,arbiter-client) = -lev -ljansson
$(foreach l,$(LIBRARIES),$(B)/$(call shared,$(l))): $(B)/lib%.so.$(VERSION): tools/arbiter.map $(B)/link.txt
	@$(call say,LD,$@)
	$(Q)$(CC) $(SANFLAGS) -shared -Wl,-soname,$(call soname,$*) -Wl,--version-script=$< $(if $(SAN),,-Wl,-z,defs) \
	    -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_$@)

# One object, so that what is hidden in the shared library does not exist in the static one either.
$(B)/libarbiter-testing.a: $(call objects,$(TESTING_SRC)) $(B)/files.txt
$(foreach l,$(LIBRARIES) arbiter-testing,$(B)/lib$(l).a): $(B)/lib%.a: $(B)/link.txt
	@$(call say,AR,$@) rm -f $@
	$(Q)$(LD) -r -o $(B)/$*.o $(filter %.o,$^)
	$(Q)objcopy --localize-hidden $(B)/$*.o
	$(Q)ar rcs $@ $(B)/$*.o

# Examples know the installed headers alone. Their main is not the test's.
$(B)/examples/%.o: CPPFLAGS_ALL = -Iinclude -Dmain=example_main -Wno-missing-prototypes

# One rule links everything: objects and archives are the prerequisites, $(LIBS_<name>) the rest.
define link
@$(call say,LD,$@)
$(Q)$(LINK) -o $@ $(filter %.o,$^) $(filter %.a %.so.$(VERSION),$^) $(1) $(LIBS)
endef

# The server is a program as anybody's: it has the library and nothing else. With SHARED=1 it needs the
# shared one at run time, as Debian's package does.
$(B)/echo-arbiter: $(call objects,$(wildcard src/echo_arbiter/*.c)) $(B)/$(if $(SHARED),$(call shared,arbiter),libarbiter.a)
$(B)/echo-client: $(call objects,$(filter src/cmd/echo_client%,$(BIN_SRC))) $(B)/libecho.a
# The test build: the same server with a worker that can be told to fail.
HOOKED  := $(B)/test/echo-arbiter
LIBS_$(HOOKED) := $(addprefix -Wl$(comma)--wrap=,worker_main move_send move_receive upgrade_exec_guard scoreboard_layout setsockopt)
$(HOOKED): $(call objects,$(wildcard tests/hooks/*.c)) $(B)/libecho.a
$(B)/echo-arbiter $(B)/echo-client $(HOOKED): $(B)/link.txt
	@mkdir -p $(@D)
	$(call link,$(LIBS_$@) $(if $(filter %/echo-client,$@),$(PROBED_EDIT)))

# The example as its readers compile it, with the one hook that a proof needs.
PUBSUB  := $(B)/test/pubsub
$(PUBSUB): $(EXAMPLES) $(wildcard examples/pubsub/*.h include/arbiter/*.h) tests/hooks/no_fence.c $(B)/libecho.a $(B)/link.txt
	@$(call say,LD,$@) mkdir -p $(@D)
	$(Q)$(COMPILE) -Wno-missing-prototypes -o $@ $(filter %.c %.a,$^) -pie $(LIBS)

LIBS_test_conn_calls := $(addprefix -Wl$(comma)--wrap=,recv send readv malloc calloc realloc)
LIBS_test_conn_faults := $(LIBS_test_conn_calls)
LIBS_test_conn_end := -Wl,--wrap=setsockopt
LIBS_test_scoreboard := -Wl,--wrap=fallocate
LIBS_test_usage := -Wl,--wrap=fstat
LIBS_test_log_writer := -Wl,--wrap=open
LIBS_test_sinks := $(addprefix -Wl$(comma)--wrap=,log_writer_start waitpid kill poll clock_gettime)
LIBS_test_library_nomem := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc)
LIBS_test_upgrade_state := -Wl,--wrap=calloc
LIBS_test_move_pair_kill := $(addprefix -Wl$(comma)--wrap=,sendmsg recvmsg)
$(filter-out $(AUTHORS),$(UNIT) $(IT)): %: %.o $(B)/libsupport.a $(B)/libecho.a $(B)/link.txt
	$(call link,$(LIBS_$(@F)) -lcmocka)
$(filter $(AUTHORS),$(UNIT) $(IT)): %: %.o $(call objects,$(EXAMPLES)) $(B)/libarbiter-testing.a $(B)/link.txt
	$(call link,-lcmocka)
$(IT): | $(BIN) $(CONF) $(COMPLETION) $(LIBRARY) $(HOOKED) $(PUBSUB) $(TOOLS)

# A program of its own, which knows nothing of the servers that it tries.
$(CONF): $(call objects,$(wildcard tests/conformance/*.c)) $(B)/libecho.a $(B)/link.txt
	$(call link)

$(TOOLS): $(B)/tests/%: $(B)/tests/tools/%.o $(B)/tests/hooks/no_fence.o $(B)/libsupport.a $(B)/libecho.a $(B)/link.txt
	$(call link)

ifeq ($(findstring fuzzer,$(SAN)),)
$(filter-out $(AUTHORS),$(FUZZ)): %: %.o $(B)/tests/fuzz/main.o $(B)/libsupport.a $(B)/libecho.a $(B)/link.txt
	$(call link)
$(filter $(AUTHORS),$(FUZZ)): %: %.o $(B)/tests/fuzz/main.o $(call objects,$(EXAMPLES)) $(B)/libarbiter-testing.a $(B)/link.txt
	$(call link)
else
$(filter-out $(AUTHORS),$(FUZZ)): %: %.o $(B)/libsupport.a $(B)/libecho.a $(B)/link.txt
	$(call link,-fsanitize=fuzzer)
$(filter $(AUTHORS),$(FUZZ)): %: %.o $(call objects,$(EXAMPLES)) $(B)/libarbiter-testing.a $(B)/link.txt
	$(call link,-fsanitize=fuzzer)
endif

# The floor stands alone; bench_* measure our own code, and the load is the engine of echo-client bench.
$(filter $(B)/tests/bench/bench_% $(B)/tests/bench/gen,$(BENCH)): $(B)/libecho.a
$(BENCH): %: %.o $(B)/link.txt
	$(call link)

-include $(patsubst %.c,$(B)/%.d,$(SRC) $(SUP) $(TESTING) $(EXAMPLES) $(BIN_SRC) tests/fuzz/main.c $(wildcard tests/hooks/*.c tests/conformance/main.c)) \
         $(TESTS:=.d) $(BENCH:=.d) $(patsubst %.c,$(B)/%.d,$(wildcard tests/tools/*.c))

# ---- what is run ----

.PHONY: $(filter _%,$(INNER))
_built: $(BIN) $(HOOKED) $(TESTS)
_fuzz-built: $(FUZZ)
_check: _built
	@ECHO_CC='$(CC) $(SANFLAGS)' BESIDE='$(BESIDE)' tests/run.sh $(B) $(TESTS)
STATUS := $(filter $(B)/tests/it/test_status% %/test_metrics,$(IT))
_check-status: $(BIN) $(HOOKED) $(STATUS)
	@tests/lint/contrib.sh
	@tests/run.sh $(B) $(STATUS)
_unit: $(UNIT)
	@tests/run.sh $(B) $(UNIT)
_it: $(BIN) $(HOOKED) $(IT)
	@ECHO_CC='$(CC) $(SANFLAGS)' tests/run.sh $(B) $(IT)
# The library in the test's own process, then the tool, which the tests start; what is wrong with it stands
# in $(B)/log/valgrind.PID.log. (In a forked child the stacks of the other threads are "possibly" lost.)
VALGRIND := valgrind -q --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --error-exitcode=99
MEMCHECK := $(filter %/test_pool %/test_pool_storm %/test_deadlines %/test_resolve,$(UNIT)) \
            $(filter-out %_install,$(filter $(B)/tests/it/test_library%,$(IT)))
TOOLCHECK := $(filter %/test_control_client $(B)/tests/it/test_client%,$(IT))
_memcheck: $(BIN) $(HOOKED) $(MEMCHECK) $(TOOLCHECK)
	@TEST_WRAPPER='$(VALGRIND)' JOBS=2 tests/run.sh $(B) $(MEMCHECK)
	@ECHO_TOOL_WRAPPER='$(VALGRIND) --log-file=$(CURDIR)/$(B)/log/valgrind.%p.log' JOBS=2 tests/run.sh $(B) $(TOOLCHECK)
SOAKED  := $(IT) $(filter %/test_bench,$(UNIT))
_soak: $(BIN) $(HOOKED) $(SOAKED)
	@for i in $$(seq $(SOAK_ROUNDS)); do echo "round $$i of $(SOAK_ROUNDS)"; \
	    ECHO_CC='$(CC) $(SANFLAGS)' ECHO_PROFILE=soak JOBS=2 TEST_TIMEOUT=3600 tests/run.sh $(B) $(SOAKED) || exit 1; done
# Connections outlive processes: tests of `check` at full length, one after the other as they print figures.
PROOFS  := $(foreach t,prove prove_pubsub spread rescue prove_kill keep_many keep_oom move move_kill upgrade client_haproxy metrics,$(filter %/test_$(t),$(IT)))
MOVING  := $(B)/tests/bench/bench_move
_prove: $(BIN) $(HOOKED) $(PROOFS) $(MOVING)
	@$(MOVING)
	@[ "$$(id -u)" != 0 ] || $(MOVING) 10000 5 65534
	@ECHO_PROFILE=soak JOBS=1 TEST_TIMEOUT=3600 tests/run.sh $(B) $(PROOFS)
_fuzz: $(FUZZ)
	@tests/fuzz/fuzz.sh $(B) $(FUZZ_SECONDS) $(FUZZ)
_lint: all $(HEADER_MAN)
	@tests/lint/run.sh $(B)
_conformance: $(CONF)
	@$(CONF) $(if $(MAX_MESSAGE),-m $(MAX_MESSAGE)) $(or $(ADDR),127.0.0.1:8060)
_bench: $(BIN) $(BENCH) $(PUBSUB)
	@QUICK='$(QUICK)' tests/bench/bench.py $(B)
_bench-pairs: $(BIN) $(B)/tests/bench/gen
	@QUICK='$(QUICK)' ON='$(ON)' OFF='$(OFF)' tests/bench/pairs.py $(B)
_bench-scale: $(BIN) $(B)/tests/bench/scale
	@CONNECTIONS='$(or $(CONNECTIONS),10000)' tests/bench/scale.sh $(B)
_bench-wakeups: $(BIN) $(B)/tests/bench/hold
	@tests/bench/bench_wakeups.sh $(B)
_bench-flood: $(BIN)
	@tests/bench/flood.py $(B)

endif

# ---- installation ----

MAN := $(wildcard man/*.[1-8]) $(HEADER_MAN)
HDR := $(wildcard include/arbiter/*.h)
CONTRIB := $(wildcard contrib/*/arbiter*)
section = $(subst .,,$(suffix $(1)))

# Paths as they will be at run time, without DESTDIR.
define PKGCONFIG
prefix=$(prefix)
libdir=$(libdir)
includedir=$(includedir)

Name: $(1)
Description: $(DESCRIPTION_$(1))
Version: $(VERSION)
Libs: -L$${libdir} -l$(1)$(ALSO_$(1))
Libs.private: $(PRIVATE_$(1))
Cflags: -I$${includedir}
endef
DESCRIPTION_arbiter := pre-fork servers whose connections outlive processes: a protocol is a table of callbacks
PRIVATE_arbiter := -lev -lconfig -ljansson -lseccomp -lm
DESCRIPTION_arbiter-client := client library for echo-arbiter: a connection pool, blocking and asynchronous calls
PRIVATE_arbiter-client := -lev -ljansson -pthread
DESCRIPTION_arbiter-testing := tests of protocols for libarbiter, without sockets: to be linked instead of it
ALSO_arbiter-testing := $(empty) -ljansson -lm

define install_archive
install -m 644 $(B)/lib$(1).a $(DESTDIR)$(libdir)/
$(file >$(B)/$(1).pc,$(call PKGCONFIG,$(1)))
install -m 644 $(B)/$(1).pc $(DESTDIR)$(libdir)/pkgconfig/

endef

# The loader looks for the soname, the linker for the plain name.
define install_library
install -m 755 $(B)/$(call shared,$(1)) $(DESTDIR)$(libdir)/
ln -sf $(call shared,$(1)) $(DESTDIR)$(libdir)/$(call soname,$(1))
ln -sf $(call soname,$(1)) $(DESTDIR)$(libdir)/lib$(1).so
$(call install_archive,$(1))
endef

$(B)/man/arbiter-%.3: include/arbiter/%.h tools/header_manual.pl
	@$(call say,MAN,$@) mkdir -p $(@D)
	$(Q)tools/header_manual.pl arbiter-$* $< >$@

_html: $(HEADER_MAN)
	@tools/html.sh $(B)/html $(MAN)
	@echo 'The manual: $(B)/html/index.html'

# Directories that are not there yet, of this DESTDIR and prefix: uninstall removes them with the last file in them.
MADE   ?= $(B)/made$(subst /,_,$(DESTDIR)$(prefix)).txt
PLACES := $(bindir) $(sbindir) $(docdir) $(libdir)/pkgconfig $(includedir)/arbiter $(bashdir) $(zshdir) $(schemadir) $(unitdir) \
          $(sysusersdir) $(confdir) $(logrotatedir) $(sort $(foreach m,$(MAN),$(mandir)/man$(call section,$(m))))
placed  = sed 's,@bindir@,$(bindir),g;s,@sbindir@,$(sbindir),g' $(1) | install -m 644 /dev/stdin $(DESTDIR)$(2)

install: all $(HEADER_MAN)
	tools/install_dirs.sh $(MADE) $(addprefix $(DESTDIR),$(PLACES))
	install -m 755 $(B)/echo-arbiter $(DESTDIR)$(sbindir)/
	install -m 755 $(B)/echo-client $(DESTDIR)$(bindir)/
	install -m 644 conf/echo.conf README.md LICENSE $(CONTRIB) $(DESTDIR)$(docdir)/
	$(foreach m,$(MAN),install -m 644 $(m) $(DESTDIR)$(mandir)/man$(call section,$(m))/$(notdir $(m)) &&) :
	for header in $(HDR); do \
	    page=arbiter-$$(basename $$header .h).3; [ "$$page" != arbiter-client.3 ] || page=lib$$page; \
	    for name in $$(tools/header_manual.pl --names $$header); do \
	        echo ".so man3/$$page" >$(DESTDIR)$(mandir)/man3/$$name.3 || exit 1; done; done
	install -m 644 $(HDR) $(DESTDIR)$(includedir)/arbiter/
	$(foreach l,$(LIBRARIES),$(call install_library,$(l)))
	$(call install_archive,arbiter-testing)
	for p in echo-client echo-arbiter; do \
	    install -m 644 $(B)/$$p.bash $(DESTDIR)$(bashdir)/$$p && \
	    install -m 644 $(B)/$$p.zsh $(DESTDIR)$(zshdir)/_$$p || exit 1; done
	install -m 644 doc/echo-client.schema.json $(DESTDIR)$(schemadir)/
	$(call placed,conf/systemd/echo-arbiter.service.in,$(unitdir)/echo-arbiter.service)
	$(call placed,conf/logrotate.d/echo-arbiter.in,$(logrotatedir)/echo-arbiter)
	install -m 644 conf/systemd/echo-arbiter.socket $(DESTDIR)$(unitdir)/
	install -m 644 conf/sysusers.d/echo-arbiter.conf $(DESTDIR)$(sysusersdir)/
	[ -e $(DESTDIR)$(confdir)/echo.conf ] || install -m 644 conf/echo.conf $(DESTDIR)$(confdir)/
	$(if $(DESTDIR),,@PATH=$$PATH:/usr/sbin:/sbin; ldconfig 2>/dev/null; \
	    ldconfig -p 2>/dev/null | grep -qF ' $(libdir)/$(call soname,arbiter-client)' || echo 'The loader does not look in $(libdir):' \
	    'link programs with -Wl,-rpath,$(libdir), or name it in /etc/ld.so.conf.d and run ldconfig.')

uninstall:
	rm -f $(DESTDIR)$(sbindir)/echo-arbiter $(DESTDIR)$(bindir)/echo-client
	rm -f $(addprefix $(DESTDIR)$(docdir)/,echo.conf README.md LICENSE $(notdir $(CONTRIB)))
	rm -f $(DESTDIR)$(schemadir)/echo-client.schema.json
	rm -f $(foreach p,echo-client echo-arbiter,$(DESTDIR)$(bashdir)/$(p) $(DESTDIR)$(zshdir)/_$(p))
	rm -f $(foreach m,$(MAN),$(DESTDIR)$(mandir)/man$(call section,$(m))/$(notdir $(m)))
	for header in $(HDR); do for name in $$(tools/header_manual.pl --names $$header); do \
	    rm -f $(DESTDIR)$(mandir)/man3/$$name.3; done; done
	rm -f $(addprefix $(DESTDIR)$(includedir)/arbiter/,$(notdir $(HDR)))
	rm -f $(addprefix $(DESTDIR)$(libdir)/,$(foreach l,$(LIBRARIES),lib$(l).so $(call soname,$(l)) $(call shared,$(l))) \
	    $(foreach l,$(LIBRARIES) arbiter-testing,lib$(l).a pkgconfig/$(l).pc))
	rm -f $(addprefix $(DESTDIR)$(unitdir)/echo-arbiter.,service socket) $(DESTDIR)$(sysusersdir)/echo-arbiter.conf \
	    $(DESTDIR)$(logrotatedir)/echo-arbiter
	@if cmp -s conf/echo.conf $(DESTDIR)$(confdir)/echo.conf; then rm $(DESTDIR)$(confdir)/echo.conf; \
	elif [ -e $(DESTDIR)$(confdir)/echo.conf ]; then echo 'kept, since it has been changed: $(DESTDIR)$(confdir)/echo.conf'; fi
	-rmdir $(DESTDIR)$(docdir) $(DESTDIR)$(includedir)/arbiter $(DESTDIR)$(confdir) 2>/dev/null || :
	@tools/install_dirs.sh -r $(MADE)
