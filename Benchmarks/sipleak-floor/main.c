/* What the benchmarks compare with, in C.

   sipleak-floor walk THREADS                 sipleak's walks, with libmnl and nothing else
   sipleak-floor measure FILE OUT PROGRAM...  runs a program with its standard output in OUT; writes
                                              its time and peak memory to FILE

   `measure` is a process of its own because the peak memory that wait4 reports counts what the
   parent had before the exec, and this one has next to nothing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 5060, MOST_THREADS = 64 };

/* CTA_FILTER's flag bits are in no header (net/netfilter/nf_internals.h). */
enum { PROTO_NUM = 0x08, SOURCE_PORT = 0x10 };

struct walk {
  uint8_t family;
  int is_reply;
};

/* Delivered side: the original source of what the host opened, the reply source of the rest. */
static const struct walk walks[] = {{AF_INET, 0}, {AF_INET6, 0}, {AF_INET, 1}, {AF_INET6, 1}};
enum { WALKS = sizeof walks / sizeof walks[0] };

static atomic_uint next_walk;
static atomic_uint_fast64_t entries;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "sipleak-floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int take(const struct nlattr *attribute, void *data) {
  const struct nlattr **slots = data;
  if (mnl_attr_get_type(attribute) <= CTA_PROTO_MAX) slots[mnl_attr_get_type(attribute)] = attribute;
  return MNL_CB_OK;
}

/* The source port of a tuple, which is all that is tested again. */
static uint16_t source_port(const struct nlattr *tuple) {
  const struct nlattr *parts[CTA_PROTO_MAX + 1] = {0}, *fields[CTA_PROTO_MAX + 1] = {0};
  mnl_attr_parse_nested(tuple, take, parts);
  if (!parts[CTA_TUPLE_PROTO]) return 0;
  mnl_attr_parse_nested(parts[CTA_TUPLE_PROTO], take, fields);
  return fields[CTA_PROTO_SRC_PORT] ? ntohs(mnl_attr_get_u16(fields[CTA_PROTO_SRC_PORT])) : 0;
}

static int entry(const struct nlmsghdr *message, void *data) {
  uint64_t *count = data;
  const struct nlattr *attribute;
  mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg)) {
    int type = mnl_attr_get_type(attribute);
    if ((type == CTA_TUPLE_ORIG || type == CTA_TUPLE_REPLY) && source_port(attribute) == PORT) {
      (*count)++;
      break;
    }
  }
  return MNL_CB_OK;
}

static void make(const struct walk *walk) {
  static _Thread_local char buffer[128 * 1024];
  struct mnl_socket *socket = mnl_socket_open(NETLINK_NETFILTER);
  if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) fail("netlink socket");
  struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
  message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message->nlmsg_seq = 1;
  struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
  header->nfgen_family = walk->family;
  struct nlattr *tuple =
      mnl_attr_nest_start(message, walk->is_reply ? CTA_TUPLE_REPLY : CTA_TUPLE_ORIG);
  struct nlattr *transport = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(message, CTA_PROTO_NUM, IPPROTO_UDP);
  mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, htons(PORT));
  mnl_attr_nest_end(message, transport);
  mnl_attr_nest_end(message, tuple);
  struct nlattr *filter = mnl_attr_nest_start(message, CTA_FILTER);
  mnl_attr_put_u32(message, walk->is_reply ? CTA_FILTER_REPLY_FLAGS : CTA_FILTER_ORIG_FLAGS,
                   PROTO_NUM | SOURCE_PORT);
  mnl_attr_nest_end(message, filter);
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) fail("send");
  uint64_t count = 0;
  unsigned port = mnl_socket_get_portid(socket);
  for (;;) {
    ssize_t length = mnl_socket_recvfrom(socket, buffer, sizeof buffer);
    if (length < 0) fail("receive");
    int state = mnl_cb_run(buffer, length, 1, port, entry, &count);
    if (state < 0) fail("dump");
    if (state == MNL_CB_STOP) break;
  }
  mnl_socket_close(socket);
  entries += count;
}

static void *work(void *unused) {
  (void)unused;
  for (unsigned index; (index = next_walk++) < WALKS;) make(&walks[index]);
  return NULL;
}

static int walk_table(int threads) {
  pthread_t others[MOST_THREADS];
  if (threads < 1 || threads > MOST_THREADS) threads = 1;
  for (int index = 1; index < threads; index++)
    if ((errno = pthread_create(&others[index], NULL, work, NULL))) fail("thread");
  work(NULL);
  for (int index = 1; index < threads; index++) pthread_join(others[index], NULL);
  printf("%llu\n", (unsigned long long)entries);
  return 0;
}

static int measure(const char *file, const char *output, char **words) {
  struct timespec before, after;
  struct rusage usage;
  int status;
  clock_gettime(CLOCK_MONOTONIC, &before);
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    if (!freopen(output, "w", stdout)) fail(output);
    execvp(words[0], words);
    fprintf(stderr, "sipleak-floor: %s: %s\n", words[0], strerror(errno));
    _exit(127);
  }
  while (wait4(child, &status, 0, &usage) < 0)
    if (errno != EINTR) fail("wait4");
  clock_gettime(CLOCK_MONOTONIC, &after);
  FILE *out = fopen(file, "w");
  if (!out) fail(file);
  /* Seconds, seconds of processor, kibibytes, status. */
  fprintf(out, "%.6f %.6f %ld %d\n",
          (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9,
          (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
              + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
          usage.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  return fclose(out) == 0 ? 0 : 1;
}

int main(int count, char **words) {
  if (count == 3 && !strcmp(words[1], "walk")) return walk_table(atoi(words[2]));
  if (count >= 5 && !strcmp(words[1], "measure")) return measure(words[2], words[3], words + 4);
  fprintf(stderr, "usage: sipleak-floor walk THREADS | measure FILE OUT PROGRAM...\n");
  return 64;
}
