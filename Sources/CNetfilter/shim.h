/* What Swift cannot import by itself, each with its reason. Never define _GNU_SOURCE here: a clean
   package build then fails on glibc's own types. */
#ifndef SIPLEAK_CNETFILTER_SHIM_H
#define SIPLEAK_CNETFILTER_SHIM_H

/* The kernel's headers first: they share include guards with the library's older copies. */
#include <linux/netlink.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/rtnetlink.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/sched.h>
#include <linux/filter.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

/* Hidden behind _GNU_SOURCE. */
extern int setns(int, int);
struct sipleak_mmsghdr {
  struct msghdr msg_hdr;
  unsigned int msg_len;
};
extern int sipleak_recvmmsg(
    int, struct sipleak_mmsghdr *, unsigned int, int, struct timespec *) __asm__("recvmmsg");

/* Macros with casts or sizeof are not imported; an enum constant is. */
enum {
  sipleak_nlmsg_hdrlen = NLMSG_HDRLEN,
  sipleak_nla_hdrlen = NLA_HDRLEN,
  sipleak_nla_type_mask = NLA_TYPE_MASK,
};

#endif
