// A plugin for qemu-user that counts executed guest instructions: a line "instructions N" at every mark and at exit. A mark is the guest's
// system call getppid, which nothing else uses: os.getppid() in Python, getppid() in C. Such counts repeat, which wall time under emulation
// does not. (One thread: threads that run at the same time would lose counts.)
// Built by setup.sh; used as: qemu-aarch64 -plugin insn_count.so PROGRAM
// Debian packages no plugin header, so the few entry points used are declared here.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct translation_block;
enum { kInlineAdd = 0 };
enum { kGetppid = 173 };  // aarch64
typedef void (*syscall_cb)(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct translation_block *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct translation_block *, int op, void *counter, uint64_t by);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_cb);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct translation_block *);

int qemu_plugin_version = 1;
static uint64_t executed;

static void Print(void) { fprintf(stderr, "instructions %llu\n", (unsigned long long)executed); }

static void OnTranslate(plugin_id id, struct translation_block *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kInlineAdd, &executed, qemu_plugin_tb_n_insns(block));
}

static void OnSyscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
                      uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number == kGetppid) Print();
}

static void AtExit(plugin_id id, void *unused) {
  (void)id, (void)unused;
  Print();
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, OnTranslate);
  qemu_plugin_register_vcpu_syscall_cb(id, OnSyscall);
  qemu_plugin_register_atexit_cb(id, AtExit, 0);
  return 0;
}
