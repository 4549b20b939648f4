#include "pool.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace veilform {
namespace {

struct Job {
  std::size_t count, seats;  // seats: how many more threads may join
  const std::function<void(std::size_t)>* task;
  std::atomic<std::size_t> next{0}, done{0};

  // Work until no task is left to take. True if this call finished the last one.
  bool work() {
    bool last = false;
    for (std::size_t i; (i = next.fetch_add(1)) < count;) {
      (*task)(i);
      last = done.fetch_add(1) + 1 == count;
    }
    return last;
  }
};

class Pool {
 public:
  void run(std::size_t count, std::size_t helpers, const std::function<void(std::size_t)>& task) {
    auto job = std::make_shared<Job>();
    job->count = count;
    job->seats = helpers;
    job->task = &task;
    {
      const std::lock_guard<std::mutex> hold(lock_);
      while (workers_ < helpers) {
        std::thread([this] { serve(); }).detach();
        ++workers_;
      }
      jobs_.push_back(job);
    }
    for (std::size_t i = 0; i < helpers; ++i) wake_.notify_one();
    job->work();
    std::unique_lock<std::mutex> hold(lock_);
    jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), job), jobs_.end());
    finished_.wait(hold, [&] { return job->done.load() == count; });
  }

 private:
  void serve() {
    std::unique_lock<std::mutex> hold(lock_);
    for (;;) {
      wake_.wait(hold, [this] { return !jobs_.empty(); });
      const std::shared_ptr<Job> job = jobs_.front();
      if (--job->seats == 0) jobs_.pop_front();
      hold.unlock();
      const bool last = job->work();
      hold.lock();
      if (last) finished_.notify_all();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_, finished_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::size_t workers_ = 0;
};

// The pool of this process. After a fork the child has none of its parent's threads, so it gets a
// pool of its own. Pools are never destroyed: their threads end with the process.
Pool& pool() {
  static std::mutex guard;
  static Pool* current = nullptr;
  static pid_t owner = 0;
  const std::lock_guard<std::mutex> hold(guard);
  if (current == nullptr || owner != getpid()) {
    current = new Pool;
    owner = getpid();
  }
  return *current;
}

struct Scratch {
  void* data = nullptr;
  std::size_t size = 0;
  ~Scratch() { std::free(data); }
};

}  // namespace

void parallel_for(std::size_t count, std::size_t threads,
                  const std::function<void(std::size_t)>& task) {
  const std::size_t helpers = std::min(threads, count);
  if (helpers <= 1) {
    for (std::size_t i = 0; i < count; ++i) task(i);
    return;
  }
  pool().run(count, helpers - 1, task);
}

void* scratch_bytes(std::size_t bytes) {
  thread_local Scratch scratch;
  if (bytes > scratch.size) {
    std::free(scratch.data);
    const std::size_t size = (bytes + 4095) / 4096 * 4096;
    scratch.data = std::aligned_alloc(64, size);
    scratch.size = scratch.data ? size : 0;
  }
  return scratch.data;
}

}  // namespace veilform
