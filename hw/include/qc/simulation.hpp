// C simulation of processes: coroutines on one thread, and streams of bounded depth on which they wait. Which process runs when does not
// change what a stream carries (Kahn 1974), so there is no lock. Token traffic does not depend on data: the first frame runs on the emitted
// depths and proves that they suffice, or says DEADLOCK and what every process waits for; later frames hand over blocks of tokens.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>
#include <vector>

namespace qc {
namespace simulation {

static const size_t STACK = 1 << 25; // bytes, of which only those that are touched cost memory: a step's weights, the largest array, lie there
static const size_t BLOCK = 1 << 12; // tokens that a stream holds after the first frame

// A process waits until a counter of a stream, which is at `seen`, moves.
struct Process {
  Process *next;
  const char *name; // its call
  const size_t *watched = nullptr;
  size_t seen = 0;
  const char *stream = "", *state = "";
  bool started = false, done = false;
  void *jump[5];
  ucontext_t start;

  virtual void body() = 0;
  virtual ~Process() = default;
};

template <class F> struct Body : Process {
  F call;
  Body(const F &call, const char *label) : call(call) { name = label; }
  void body() override { call(); }
};

struct Scheduler {
  Process *running = nullptr; // the last of a ring, before the processes run
  bool blocks = false;        // not in the first frame, which runs on the emitted depths
  void *main[5];
  std::vector<char *> stacks; // kept from frame to frame: mapping them anew costs more than many a frame
  size_t used = 0;

  ~Scheduler() {
    for (char *stack : stacks)
      delete[] stack;
  }

  static Scheduler &instance() {
    static Scheduler scheduler;
    return scheduler;
  }

  template <class F> void add(const F &call, const char *name) {
    Process *p = new Body<F>(call, name);
    if (running) {
      p->next = running->next;
      running->next = p;
    } else {
      p->next = p;
    }
    running = p;
  }

  // Until all processes are done. A deadlock ends the program.
  void run() {
    if (running && !__builtin_setjmp(main))
      resume(following());
    for (Process *p = running, *next; p; p = next) {
      next = p->next == running ? nullptr : p->next;
      delete p;
    }
    running = nullptr;
    used = 0;
  }

  // The next process of the ring that has not ended and for which something moved; null where all are done.
  Process *following() {
    bool open = false;
    Process *p = running;
    do {
      p = p->next;
      if (!p->done && (!p->watched || *p->watched != p->seen))
        return p;
      open |= !p->done;
    } while (p != running);
    return open ? deadlock() : nullptr;
  }

  // Jumps that save no signal mask: swapcontext costs two calls of the kernel. Each in a function of its own, as the compiler asks.
  __attribute__((noinline)) void wait(const char *stream, const char *state, const size_t &counter) {
    running->stream = stream;
    running->state = state;
    running->watched = &counter;
    running->seen = counter;
    Process *next = following();
    if (!__builtin_setjmp(running->jump))
      resume(next);
  }

  __attribute__((noinline)) void resume(Process *p) {
    if (!p)
      __builtin_longjmp(main, 1);
    running = p;
    if (p->started)
      __builtin_longjmp(p->jump, 1);
    p->started = true;
    getcontext(&p->start);
    if (used == stacks.size())
      stacks.push_back(new char[STACK]);
    p->start.uc_stack.ss_sp = stacks[used++];
    p->start.uc_stack.ss_size = STACK;
    p->start.uc_link = nullptr;
    makecontext(&p->start, (void (*)())enter, 0);
    setcontext(&p->start);
  }

  static void enter() {
    Scheduler &s = instance();
    s.running->body();
    s.running->done = true;
    s.resume(s.following());
  }

  Process *deadlock() {
    printf("DEADLOCK\n");
    Process *p = running;
    do {
      p = p->next;
      if (!p->done)
        printf("  %s waits: %s %s\n", p->name, p->stream, p->state);
    } while (p != running);
    fflush(stdout);
    std::_Exit(3);
  }
};

} // namespace simulation
} // namespace qc

namespace hls {

// A ring of at least `depth` tokens; counters of those that were written and read.
template <class T> class stream {
public:
  stream() { bound(2, "a stream"); }
  stream(const stream &) = delete;
  ~stream() { delete[] tokens; }

  void bound(size_t depth, const char *label) {
    room = qc::simulation::Scheduler::instance().blocks && depth < qc::simulation::BLOCK ? qc::simulation::BLOCK : depth;
    name = label;
    mask = 1;
    while (mask < room)
      mask *= 2;
    delete[] tokens;
    tokens = new T[mask--];
  }

  T read() {
    while (written == taken)
      qc::simulation::Scheduler::instance().wait(name, "is empty", written);
    return tokens[taken++ & mask];
  }

  void write(const T &value) {
    while (written - taken >= room)
      qc::simulation::Scheduler::instance().wait(name, "is full", taken);
    tokens[written++ & mask] = value;
  }

private:
  size_t room, mask, written = 0, taken = 0;
  const char *name;
  T *tokens = nullptr;
};

} // namespace hls

// Weights from a file, put into the program as they are: a compiler reads a million numbers slowly.
#define QC_ROM(type, name, file)                                                                                                                   \
  asm(".section .rodata\n.balign 8\n.globl " #name "\n" #name ":\n.incbin \"" file "\"\n.previous");                                            \
  extern "C" const type name[]
#define QC_DEPTH(stream, tokens) stream.bound(tokens, #stream)
#define QC_PROCESS(call) qc::simulation::Scheduler::instance().add([&] { call; }, #call)
#define QC_JOIN() qc::simulation::Scheduler::instance().run()
