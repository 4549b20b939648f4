// A pool of threads that share out numbered tasks. The only state in these sources.
#pragma once

#include <cstddef>
#include <functional>

namespace veilform {

// Call task(0) .. task(count - 1), on up to `threads` threads, the caller's among them, and return
// when all are done. Tasks must not throw. Calls from several threads at once are served together.
void parallel_for(std::size_t count, std::size_t threads,
                  const std::function<void(std::size_t)>& task);

// Memory of at least this many bytes, aligned to 64 bytes, of the calling thread; valid until the
// thread's next call. Null if there is none to be had.
void* scratch_bytes(std::size_t bytes);

}  // namespace veilform
