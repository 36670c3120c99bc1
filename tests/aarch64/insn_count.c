// A plugin for qemu-user that counts executed guest instructions and prints the total at exit. Such counts repeat exactly, which wall time under
// emulation does not.
// Built by setup.sh; used as: qemu-aarch64 -plugin insn_count.so PROGRAM
// Debian packages no plugin header, so the few entry points used are declared here.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct translation_block;
enum { kInlineAdd = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct translation_block *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct translation_block *, int op, void *counter, uint64_t by);
extern size_t qemu_plugin_tb_n_insns(const struct translation_block *);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

int qemu_plugin_version = 1;
static uint64_t executed;

static void OnTranslate(plugin_id id, struct translation_block *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kInlineAdd, &executed, qemu_plugin_tb_n_insns(block));
}

static void AtExit(plugin_id id, void *unused) {
  (void)id;
  (void)unused;
  fprintf(stderr, "instructions %llu\n", (unsigned long long)executed);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info;
  (void)argc;
  (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, OnTranslate);
  qemu_plugin_register_atexit_cb(id, AtExit, 0);
  return 0;
}
