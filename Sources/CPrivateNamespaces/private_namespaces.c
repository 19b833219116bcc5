#define _GNU_SOURCE
#include "CPrivateNamespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char error_text[256] = "the constructor has not run";
static unsigned long long outside;

const char *private_namespaces_error(void) { return error_text[0] ? error_text : NULL; }
unsigned long long private_namespaces_outside(void) { return outside; }

/* Keeps the first failure; always false, so that callers can return it. */
static int failed(const char *operation) {
  snprintf(error_text, sizeof error_text, "%s: %s", operation, strerror(errno));
  return 0;
}

static int write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t written = write(fd, text, strlen(text));
  int saved = errno;
  close(fd);
  errno = saved;
  return written == (ssize_t)strlen(text);
}

/* The user namespace comes first and with its maps: a network namespace born in the same step has
   no mapped owner, and /proc/net files in it are then unreadable (facts G2). */
static int enter_user_namespace(void) {
  char map[64];
  uid_t uid = geteuid();
  gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER) != 0) return failed("unshare user namespace");
  /* Required before an unprivileged process may write a gid map. */
  if (!write_file("/proc/self/setgroups", "deny")) return failed("write /proc/self/setgroups");
  snprintf(map, sizeof map, "0 %u 1", (unsigned)uid);
  if (!write_file("/proc/self/uid_map", map)) return failed("write /proc/self/uid_map");
  snprintf(map, sizeof map, "0 %u 1", (unsigned)gid);
  if (!write_file("/proc/self/gid_map", map)) return failed("write /proc/self/gid_map");
  return 1;
}

static int raise_loopback(void) {
  struct ifreq request;
  int result = 0;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, "lo");
  if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
    request.ifr_flags |= IFF_UP;
    result = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  }
  int saved = errno;
  close(fd);
  errno = saved;
  return result;
}

static int enter(void) {
  struct stat before, after;
  char number[32];
  if (stat("/proc/self/ns/net", &before) != 0) return failed("stat /proc/self/ns/net");
  outside = before.st_ino;
  if (!enter_user_namespace()) return 0;
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
    return failed("unshare network and mount namespaces");
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return failed("make / private");
  /* `ip netns` and the xtables lock live here; the host's own /run is out of reach from now on. */
  if (mount("sipleak-lab", "/run", "tmpfs", 0, "mode=755") != 0)
    return failed("mount tmpfs on /run");
  /* Nor does a test write into the history of an installed sipleak. */
  if (stat("/var/lib/sipleak", &after) == 0 &&
      mount("sipleak-lab", "/var/lib/sipleak", "tmpfs", 0, "mode=700") != 0)
    return failed("mount tmpfs on /var/lib/sipleak");
  if (!raise_loopback()) return failed("set lo up");
  if (stat("/proc/self/ns/net", &after) != 0) return failed("stat /proc/self/ns/net");
  if (after.st_ino == before.st_ino) {
    errno = EEXIST;
    return failed("compare network namespaces");
  }
  /* The Lab library's proof compares with this one before every change. */
  snprintf(number, sizeof number, "%llu", outside);
  if (setenv("SIPLEAK_LAB_OUTSIDE", number, 1) != 0) return failed("setenv");
  return 1;
}

__attribute__((constructor)) static void private_namespaces_enter(void) {
  if (enter()) error_text[0] = 0;
}
