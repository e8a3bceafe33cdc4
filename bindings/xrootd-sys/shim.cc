// The C face of XrdCl, in C++: each entry builds a handler that decodes the answer into the plain structs of shim.h
// and calls `done` once. It never keeps anything of its own beyond a request, and decides nothing.
// XRootD 6 made every timeout a time_t; `seconds` is the one place that knows.

#include "shim.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "XrdCl/XrdClDefaultEnv.hh"
#include "XrdCl/XrdClEnv.hh"
#include "XrdCl/XrdClFile.hh"
#include "XrdCl/XrdClFileSystem.hh"
#include "XrdCl/XrdClURL.hh"
#include "XrdCl/XrdClXRootDResponses.hh"
#include "XrdVersion.hh"

namespace XrdCl {
// Its header is not among the public ones. Only this member is named here, it is not virtual, and its symbol has been
// the same since 4.0, so that a declaration is all that a call needs.
class PostMaster {
 public:
  bool Stop();
};
}  // namespace XrdCl

struct xrds_file {
  XrdCl::File file;
};

struct xrds_fs {
  explicit xrds_fs(const std::string &url) : fs(XrdCl::URL(url)) {}
  XrdCl::FileSystem fs;
};

namespace {

using XrdCl::AnyObject;
using XrdCl::HostList;
using XrdCl::XRootDStatus;

#if XrdVNUMBER >= 60000
typedef time_t Timeout;
Timeout seconds(uint32_t value) { return static_cast<Timeout>(value); }
#else
typedef uint16_t Timeout;
Timeout seconds(uint32_t value) { return static_cast<Timeout>(std::min<uint32_t>(value, 65535)); }
#endif

enum class Answer { Nothing, Stat, Bytes, Chunk, Listing, Locations };

xrds_stat plain(const XrdCl::StatInfo &info) {
  xrds_stat out;
  out.size = info.GetSize();
  out.mtime = info.GetModTime();
  out.flags = info.GetFlags();
  out.id = info.GetId().c_str();
  return out;
}

class Handler : public XrdCl::ResponseHandler {
 public:
  Handler(Answer answer, xrds_done done, void *ctx) : answer_(answer), done_(done), ctx_(ctx) {}

  void HandleResponseWithHosts(XRootDStatus *status, AnyObject *response, HostList *hosts) override {
    std::unique_ptr<Handler> self(this);
    std::unique_ptr<XRootDStatus> own_status(status);
    std::unique_ptr<AnyObject> own_response(response);
    std::unique_ptr<HostList> own_hosts(hosts);
    std::string by;
    try {
      if (hosts && !hosts->empty()) by = hosts->back().url.GetURL();
    } catch (...) {
      by.clear();
    }
    try {
      deliver(status, response, by.empty() ? nullptr : by.c_str());
    } catch (...) {
      refuse("the answer could not be decoded");
    }
  }

  void HandleResponse(XRootDStatus *status, AnyObject *response) override {
    HandleResponseWithHosts(status, response, nullptr);
  }

  // For a request that was never submitted; the caller deletes the handler.
  void fail(const XRootDStatus &status) { finish(status, nullptr, nullptr); }
  void refuse(const char *message) {
    xrds_status plain_status = {XrdCl::stError, XrdCl::errInternal, 0, message};
    call(&plain_status, nullptr);
  }

 private:
  void deliver(XRootDStatus *status, AnyObject *response, const char *by) {
    if (!status) return refuse("an answer without a status");
    if (!status->IsOK()) return finish(*status, nullptr, by);
    xrds_reply reply = {};
    reply.answered_by = by;
    switch (answer_) {
      case Answer::Nothing:
        return finish(*status, &reply, by);
      case Answer::Stat: {
        XrdCl::StatInfo *info = nullptr;
        if (response) response->Get(info);
        if (!info) return refuse("a stat without an answer");
        xrds_stat stat = plain(*info);
        reply.stat = &stat;
        return finish(*status, &reply, by);
      }
      case Answer::Bytes: {
        XrdCl::Buffer *buffer = nullptr;
        if (response) response->Get(buffer);
        if (buffer) {
          reply.data = buffer->GetBuffer();
          reply.data_len = reply.data ? buffer->GetSize() : 0;
        }
        return finish(*status, &reply, by);
      }
      case Answer::Chunk: {
        XrdCl::ChunkInfo *chunk = nullptr;
        if (response) response->Get(chunk);
        if (!chunk) return refuse("a read without an answer");
        reply.transferred = chunk->length;
        return finish(*status, &reply, by);
      }
      case Answer::Listing: {
        XrdCl::DirectoryList *list = nullptr;
        if (response) response->Get(list);
        if (!list) return refuse("a listing without an answer");
        std::vector<xrds_entry> entries;
        std::vector<xrds_stat> stats;
        entries.reserve(list->GetSize());
        stats.reserve(list->GetSize());
        for (auto it = list->Begin(); it != list->End(); ++it) {
          const XrdCl::StatInfo *info = (*it)->GetStatInfo();
          if (info) stats.push_back(plain(*info));
          xrds_entry entry = {(*it)->GetName().c_str(), (*it)->GetHostAddress().c_str(),
                              info ? &stats.back() : nullptr, 0, 0};
          entries.push_back(entry);
        }
        reply.entries = entries.data();
        reply.entries_len = entries.size();
        return finish(*status, &reply, by);
      }
      case Answer::Locations: {
        XrdCl::LocationInfo *info = nullptr;
        if (response) response->Get(info);
        if (!info) return refuse("a locate without an answer");
        std::vector<xrds_entry> entries;
        entries.reserve(info->GetSize());
        for (auto it = info->Begin(); it != info->End(); ++it) {
          xrds_entry entry = {it->GetAddress().c_str(), "", nullptr, static_cast<int32_t>(it->GetType()),
                              static_cast<int32_t>(it->GetAccessType())};
          entries.push_back(entry);
        }
        reply.entries = entries.data();
        reply.entries_len = entries.size();
        return finish(*status, &reply, by);
      }
    }
  }

  void finish(const XRootDStatus &status, const xrds_reply *reply, const char *by) {
    std::string message = status.GetErrorMessage();
    if (message.empty() && !status.IsOK()) message = status.ToString();
    while (!message.empty() && (message.back() == '\n' || message.back() == ' ' || message.back() == '\0'))
      message.pop_back();
    xrds_status out = {status.status, status.code, status.errNo, message.c_str()};
    xrds_reply empty = {};
    empty.answered_by = by;
    call(&out, reply ? reply : &empty);
  }

  void call(const xrds_status *status, const xrds_reply *reply) {
    xrds_done done = done_;
    if (!done) return;
    done_ = nullptr;
    xrds_reply empty = {};
    done(ctx_, status, reply ? reply : &empty);
  }

  Answer answer_;
  xrds_done done_;
  void *ctx_;
};

// Runs `send` with a new handler. XrdCl takes the handler only when it says OK; an exception means that it did not.
template <typename Send>
void submit(Answer answer, xrds_done done, void *ctx, Send send) {
  Handler *handler = nullptr;
  try {
    handler = new Handler(answer, done, ctx);
    XRootDStatus status = send(handler);
    if (status.IsOK()) return;
    handler->fail(status);
    delete handler;
  } catch (const std::exception &error) {
    std::unique_ptr<Handler> own(handler);
    if (own) return own->refuse(error.what());
    Handler(answer, done, ctx).refuse("out of memory");
  } catch (...) {
    std::unique_ptr<Handler> own(handler);
    if (own) own->refuse("an unknown exception on submission");
  }
}

size_t copy_out(const std::string &text, char *out, size_t cap) {
  if (text.empty() || text.size() > cap) return 0;
  memcpy(out, text.data(), text.size());
  return text.size();
}

}  // namespace

extern "C" {

uint32_t xrds_version(void) { return XrdVNUMBER; }

int xrds_env_put_int(const char *name, int value) try {
  return XrdCl::DefaultEnv::GetEnv()->PutInt(name, value) ? 1 : 0;
} catch (...) {
  return -1;
}

int xrds_env_get_int(const char *name, int *value) try {
  return XrdCl::DefaultEnv::GetEnv()->GetInt(name, *value) ? 1 : 0;
} catch (...) {
  return 0;
}

int xrds_stop(void) try {
  XrdCl::PostMaster *master = XrdCl::DefaultEnv::GetPostMaster();
  return master && master->Stop() ? 1 : 0;
} catch (...) {
  return 0;
}

int xrds_give_way(void) {
  sched_param none{};
  return sched_setscheduler(0, SCHED_BATCH, &none) == 0 ? 1 : 0;
}

size_t xrds_url_host_id(const char *url, char *out, size_t cap) try {
  XrdCl::URL parsed((std::string(url)));
  if (!parsed.IsValid()) return 0;
  return copy_out(parsed.GetHostName() + ":" + std::to_string(parsed.GetPort()), out, cap);
} catch (...) {
  return 0;
}

size_t xrds_url_split(const char *url, char *out, size_t cap) try {
  XrdCl::URL parsed((std::string(url)));
  if (!parsed.IsValid()) return 0;
  return copy_out(parsed.GetProtocol() + "\n" + parsed.GetHostName() + "\n" + std::to_string(parsed.GetPort()) + "\n" +
                      parsed.GetPath() + "\n" + parsed.GetParamsAsString(),
                  out, cap);
} catch (...) {
  return 0;
}

size_t xrds_host_name(const char *address, char *out, size_t cap) try {
  sockaddr_storage place = {};
  auto *v4 = reinterpret_cast<sockaddr_in *>(&place);
  auto *v6 = reinterpret_cast<sockaddr_in6 *>(&place);
  socklen_t length = 0;
  if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    length = sizeof(*v4);
  } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    length = sizeof(*v6);
  } else {
    return 0;
  }
  char name[NI_MAXHOST];
  if (getnameinfo(reinterpret_cast<sockaddr *>(&place), length, name, sizeof(name), nullptr, 0, NI_NAMEREQD)) return 0;
  return copy_out(name, out, cap);
} catch (...) {
  return 0;
}

xrds_fs *xrds_fs_new(const char *url) try {
  return new xrds_fs(url);
} catch (...) {
  return nullptr;
}

void xrds_fs_delete(xrds_fs *fs) try {
  delete fs;
} catch (...) {
}

void xrds_fs_stat(xrds_fs *fs, const char *path, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Stat, done, ctx, [&](Handler *h) { return fs->fs.Stat(path, h, seconds(timeout)); });
}

void xrds_fs_mv(xrds_fs *fs, const char *from, const char *to, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return fs->fs.Mv(from, to, h, seconds(timeout)); });
}

void xrds_fs_rm(xrds_fs *fs, const char *path, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return fs->fs.Rm(path, h, seconds(timeout)); });
}

void xrds_fs_mkdir(xrds_fs *fs, const char *path, int parents, uint32_t mode, uint32_t timeout, xrds_done done,
                   void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) {
    return fs->fs.MkDir(path, parents ? XrdCl::MkDirFlags::MakePath : XrdCl::MkDirFlags::None,
                        static_cast<XrdCl::Access::Mode>(mode), h, seconds(timeout));
  });
}

void xrds_fs_rmdir(xrds_fs *fs, const char *path, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return fs->fs.RmDir(path, h, seconds(timeout)); });
}

void xrds_fs_chmod(xrds_fs *fs, const char *path, uint32_t mode, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) {
    return fs->fs.ChMod(path, static_cast<XrdCl::Access::Mode>(mode), h, seconds(timeout));
  });
}

void xrds_fs_dirlist(xrds_fs *fs, const char *path, int with_stat, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Listing, done, ctx, [&](Handler *h) {
    return fs->fs.DirList(path, with_stat ? XrdCl::DirListFlags::Stat : XrdCl::DirListFlags::None, h,
                          seconds(timeout));
  });
}

void xrds_fs_locate(xrds_fs *fs, const char *path, uint32_t flags, int deep, uint32_t timeout, xrds_done done,
                    void *ctx) {
  submit(Answer::Locations, done, ctx, [&](Handler *h) {
    auto wanted = static_cast<XrdCl::OpenFlags::Flags>(flags);
    return deep ? fs->fs.DeepLocate(path, wanted, h, seconds(timeout)) : fs->fs.Locate(path, wanted, h, seconds(timeout));
  });
}

void xrds_fs_query(xrds_fs *fs, uint32_t code, const char *arg, size_t arg_len, uint32_t timeout, xrds_done done,
                   void *ctx) {
  submit(Answer::Bytes, done, ctx, [&](Handler *h) {
    XrdCl::Buffer buffer;
    buffer.FromString(std::string(arg, arg_len));
    return fs->fs.Query(static_cast<XrdCl::QueryCode::Code>(code), buffer, h, seconds(timeout));
  });
}

void xrds_fs_ping(xrds_fs *fs, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return fs->fs.Ping(h, seconds(timeout)); });
}

xrds_file *xrds_file_new(void) try {
  return new xrds_file();
} catch (...) {
  return nullptr;
}

void xrds_file_delete(xrds_file *file) try {
  delete file;
} catch (...) {
}

int xrds_file_is_open(const xrds_file *file) try {
  return file->file.IsOpen() ? 1 : 0;
} catch (...) {
  return 0;
}

void xrds_file_open(xrds_file *file, const char *url, uint32_t flags, uint32_t mode, uint32_t timeout, xrds_done done,
                    void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) {
    return file->file.Open(url, static_cast<XrdCl::OpenFlags::Flags>(flags), static_cast<XrdCl::Access::Mode>(mode), h,
                           seconds(timeout));
  });
}

void xrds_file_close(xrds_file *file, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return file->file.Close(h, seconds(timeout)); });
}

void xrds_file_stat(xrds_file *file, int force, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Stat, done, ctx, [&](Handler *h) { return file->file.Stat(force != 0, h, seconds(timeout)); });
}

void xrds_file_read(xrds_file *file, uint64_t offset, uint32_t size, void *buffer, uint32_t timeout, xrds_done done,
                    void *ctx) {
  submit(Answer::Chunk, done, ctx,
         [&](Handler *h) { return file->file.Read(offset, size, buffer, h, seconds(timeout)); });
}

void xrds_file_write(xrds_file *file, uint64_t offset, uint32_t size, const void *buffer, uint32_t timeout,
                     xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx,
         [&](Handler *h) { return file->file.Write(offset, size, buffer, h, seconds(timeout)); });
}

void xrds_file_sync(xrds_file *file, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return file->file.Sync(h, seconds(timeout)); });
}

void xrds_file_truncate(xrds_file *file, uint64_t size, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Nothing, done, ctx, [&](Handler *h) { return file->file.Truncate(size, h, seconds(timeout)); });
}

void xrds_file_fcntl(xrds_file *file, const char *arg, size_t arg_len, uint32_t timeout, xrds_done done, void *ctx) {
  submit(Answer::Bytes, done, ctx, [&](Handler *h) {
    XrdCl::Buffer buffer;
    buffer.FromString(std::string(arg, arg_len));
    return file->file.Fcntl(buffer, h, seconds(timeout));
  });
}

int64_t xrds_file_property(const xrds_file *file, const char *name, char *out, size_t cap) try {
  std::string value;
  if (!file->file.GetProperty(name, value)) return -1;
  memcpy(out, value.data(), std::min(cap, value.size()));
  return static_cast<int64_t>(value.size());
} catch (...) {
  return -1;
}

int xrds_file_set_property(xrds_file *file, const char *name, const char *value) try {
  return file->file.SetProperty(name, value) ? 1 : 0;
} catch (...) {
  return 0;
}

}  // extern "C"
