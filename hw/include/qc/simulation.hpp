// C simulation of processes: bounded, blocking streams and cooperative processes. Token traffic does not depend on data, so a run that ends
// proves that the depths suffice; a run in which every process waits is a deadlock and says which streams it waits for.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <ucontext.h>
#include <vector>

namespace qc {
namespace simulation {

static const size_t STACK = 1 << 25; // bytes, of which only those that are touched cost memory: a step's weights, the largest array, lie there

struct Process {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[STACK]};
  std::function<void()> body;
  const char *waits = nullptr;
  bool done = false;
};

struct Scheduler {
  std::vector<std::unique_ptr<Process>> processes;
  ucontext_t main;
  Process *running = nullptr;
  bool moved = false; // since the last look at all processes

  static void enter() {
    Scheduler &s = instance();
    s.running->body();
    s.running->done = true;
    s.moved = true;
    swapcontext(&s.running->context, &s.main);
  }

  static Scheduler &instance() {
    static Scheduler scheduler;
    return scheduler;
  }

  void add(std::function<void()> body) {
    processes.emplace_back(new Process);
    Process &p = *processes.back();
    p.body = std::move(body);
    getcontext(&p.context);
    p.context.uc_stack.ss_sp = p.stack.get();
    p.context.uc_stack.ss_size = STACK;
    p.context.uc_link = nullptr;
    makecontext(&p.context, (void (*)())enter, 0);
  }

  // Until all processes are done. A deadlock ends the program.
  void run() {
    bool open = true;
    while (open) {
      open = moved = false;
      for (auto &p : processes) {
        if (p->done)
          continue;
        running = p.get();
        swapcontext(&main, &p->context);
        open |= !p->done;
      }
      if (open && !moved)
        deadlock();
    }
    processes.clear();
  }

  void wait(const char *what) {
    running->waits = what;
    swapcontext(&running->context, &main);
  }

  void deadlock() {
    printf("DEADLOCK\n");
    for (auto &p : processes)
      if (!p->done)
        printf("  waits: %s\n", p->waits ? p->waits : "?");
    fflush(stdout);
    std::_Exit(3);
  }
};

} // namespace simulation
} // namespace qc

namespace hls {

template <class T> class stream {
public:
  size_t depth = 1;
  const char *name = "stream";

  T read() {
    auto &s = qc::simulation::Scheduler::instance();
    while (tokens.empty())
      s.wait(name);
    T out = tokens.front();
    tokens.pop_front();
    s.moved = true;
    return out;
  }

  void write(const T &value) {
    auto &s = qc::simulation::Scheduler::instance();
    while (tokens.size() >= depth)
      s.wait(name);
    tokens.push_back(value);
    s.moved = true;
  }

private:
  std::deque<T> tokens;
};

} // namespace hls

// Weights from a file, put into the program as they are: a compiler reads a million numbers slowly.
#define QC_ROM(type, name, file)                                                                                                                   \
  asm(".section .rodata\n.balign 8\n.globl " #name "\n" #name ":\n.incbin \"" file "\"\n.previous");                                            \
  extern "C" const type name[]
#define QC_DEPTH(stream, tokens)                                                                                                                  \
  stream.depth = tokens;                                                                                                                         \
  stream.name = #stream
#define QC_PROCESS(call) qc::simulation::Scheduler::instance().add([&] { call; })
#define QC_JOIN() qc::simulation::Scheduler::instance().run()
