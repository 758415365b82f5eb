# echo-arbiter: everything is made below build/. `make help` lists the targets.

VERSION := 0.1.0
prefix  ?= /usr/local
B       ?= build
CC      ?= gcc
PKGS    := libconfig jansson

ifeq ($(V),1)
Q :=
else
Q := @
endif
say = $(if $(Q),@printf '  %-7s %s\n' '$(1)' '$(2)',@:)

WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
try     = $(shell $(CC) $(1) -Werror -x c -c /dev/null -o /dev/null 2>/dev/null && echo '$(1)')
HARDEN := -U_FORTIFY_SOURCE $(call try,-D_FORTIFY_SOURCE=3 -O2) -fstack-protector-strong -fPIE \
          $(call try,-fstack-clash-protection) $(call try,-fcf-protection=full) \
          $(call try,-ftrivial-auto-var-init=zero)
OPT    ?= -O2 -g
WERROR ?=
CFLAGS_ALL  = -std=gnu11 $(OPT) $(WARN) $(WERROR) $(HARDEN) -Isrc -Iinclude -D_GNU_SOURCE \
              -DECHO_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS)) $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS   := -lev $(shell pkg-config --libs $(PKGS))

SRC    := $(filter-out src/cmd/%,$(wildcard src/*/*.c))
OBJ    := $(SRC:%.c=$(B)/%.o)
SUP    := $(wildcard tests/support/*.c)
SUPOBJ := $(SUP:%.c=$(B)/%.o)
UNIT   := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
IT     := $(patsubst tests/it/%.c,$(B)/tests/it/%,$(wildcard tests/it/test_*.c))

.PHONY: all clean unit
.SECONDARY:
all: $(B)/echo-arbiter $(B)/echo-client

$(B)/echo-%: $(B)/src/cmd/echo_%.o $(B)/libecho.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/libecho.a: $(OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/%.o: %.c Makefile
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libecho.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

$(B)/tests/it/%: $(B)/tests/it/%.o $(SUPOBJ) $(B)/libecho.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

unit: $(UNIT)
	$(Q)rc=0; for t in $(UNIT); do $$t || rc=1; done; exit $$rc

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
