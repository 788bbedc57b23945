// bench.c - timing harness for folders of CNI plugins. See README.md.
// A small static program: posix_spawn (CLONE_VM|CLONE_VFORK) and wait4, with all labels interleaved
// A B C A B C.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <errno.h>
#include <sched.h>
#include <spawn.h>
#include <signal.h>
#include <time.h>
#include <stdint.h>
#include <stdarg.h>
#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/time.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <net/if.h>

#define MAXL 6
static char *dirs[MAXL], *labels[MAXL];
static int nl;
static int N = 60, WARM = 3;
static const char *work = "work";
static int hostns0 = -1;
static FILE *csv;
static int errfd = 2, verbose = 0;

static void die(const char *f, ...) {
    va_list a;
    va_start(a, f);
    vfprintf(stderr, f, a);
    va_end(a);
    fprintf(stderr, " (%s)\n", strerror(errno));
    exit(1);
}
static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// ------------------------------------------------------------------ samples
struct res {
    uint64_t wall, u, s;
    long rss;
    int rc;
};
struct row {
    char variant[40], op[28];
    int label;
    struct res *v;
    int n, cap, fails;
};
static struct row rows[1200];
static int nrows;
static void rec(const char *variant, const char *op, int label, struct res *r) {
    struct row *w = 0;
    for (int i = nrows - 1; i >= 0; i--)
        if (rows[i].label == label && !strcmp(rows[i].op, op) && !strcmp(rows[i].variant, variant)) {
            w = &rows[i];
            break;
        }
    if (!w) {
        if (nrows == 1200)
            die("rows");
        w = &rows[nrows++];
        snprintf(w->variant, 40, "%s", variant);
        snprintf(w->op, 28, "%s", op);
        w->label = label;
    }
    if (r->rc == 99)
        return;
    if (r->rc)
        w->fails++;
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->v = realloc(w->v, w->cap * sizeof *w->v);
    }
    w->v[w->n++] = *r;
    if (csv)
        fprintf(csv, "%s,%s,%s,%llu,%llu,%llu,%ld,%d\n", variant, op, labels[label], (unsigned long long)r->wall / 1000,
                (unsigned long long)r->u, (unsigned long long)r->s, r->rss, r->rc);
}
static int cmpu(const void *a, const void *b) {
    uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;
    return x < y ? -1 : x > y;
}
static uint64_t *srt(struct row *w, int what) {
    uint64_t *t = malloc(w->n * 8);
    for (int i = 0; i < w->n; i++)
        t[i] = what == 0   ? w->v[i].wall / 1000
               : what == 1 ? w->v[i].u + w->v[i].s
               : what == 2 ? (uint64_t)w->v[i].rss
               : what == 3 ? w->v[i].u
                           : w->v[i].s;
    qsort(t, w->n, 8, cmpu);
    return t;
}
static uint64_t med(uint64_t *t, int n) {
    return n & 1 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
}
static void report(void) {
    printf("%-16s %-16s %-10s %4s %9s %9s %9s | %8s %7s %7s | %7s | %6s %s\n", "variant", "op", "label", "n",
           "wall_med", "min", "max", "cpu_med", "usr_avg", "sys_avg", "rss_KB", "x", "fails");
    for (int i = 0; i < nrows; i++) {
        if (!rows[i].variant[0])
            continue;
        uint64_t base = 0;
        for (int j = i; j < nrows; j++)
            if (rows[j].label == 0 && rows[j].n && rows[j].variant[0] && !strcmp(rows[j].op, rows[i].op) &&
                !strcmp(rows[j].variant, rows[i].variant)) {
                uint64_t *a = srt(&rows[j], 0);
                base = med(a, rows[j].n);
                free(a);
                break;
            }
        for (int j = i; j < nrows; j++) {
            struct row *w = &rows[j];
            if (!w->variant[0] || strcmp(w->op, rows[i].op) || (j != i && strcmp(w->variant, rows[i].variant)))
                continue;
            if (w->n) {
                uint64_t *a = srt(w, 0), *c = srt(w, 1), *m = srt(w, 2);
                uint64_t us = 0, ss = 0;
                for (int k = 0; k < w->n; k++)
                    us += w->v[k].u, ss += w->v[k].s;
                uint64_t md = med(a, w->n);
                if (!base)
                    base = md;
                printf("%-16s %-16s %-10s %4d %9llu %9llu %9llu | %8llu %7llu %7llu | %7llu | %6.2f %s", w->variant,
                       w->op, labels[w->label], w->n, (unsigned long long)md, (unsigned long long)a[0],
                       (unsigned long long)a[w->n - 1], (unsigned long long)med(c, w->n), (unsigned long long)us / w->n,
                       (unsigned long long)ss / w->n, (unsigned long long)med(m, w->n), md ? (double)base / md : 0, "");
                if (w->fails)
                    printf("%d", w->fails);
                printf("\n");
                free(a);
                free(c);
                free(m);
            }
            if (j != i)
                w->variant[0] = 0;
        }
    }
    printf("(times in us; wall_med = median; x = first label's wall / this wall; rss = largest single process of the "
           "tree, ru_maxrss; floor = harness's own)\n");
    for (int i = 0; i < nrows; i++)
        free(rows[i].v);
    memset(rows, 0, sizeof rows);
    nrows = 0;
    fflush(stdout);
    if (csv)
        fflush(csv);
}

// ------------------------------------------------------------------ netns
static int ser;
static int mkns(char *path, const char *tag) { // create, bind at path, return to caller's ns
    int cur = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    sprintf(path, "/run/netns/pb-%s-%d", tag, ser++);
    close(open(path, O_CREAT | O_RDONLY, 0444));
    if (unshare(CLONE_NEWNET))
        die("unshare net");
    if (mount("/proc/self/ns/net", path, 0, MS_BIND, 0))
        die("bind netns");
    if (setns(cur, CLONE_NEWNET))
        die("setns");
    close(cur);
    return 0;
}
static void rmns(const char *path) {
    umount2(path, MNT_DETACH);
    unlink(path);
}
static int openns(const char *p) {
    int f = open(p, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        die("open %s", p);
    return f;
}
static void enter(int fd) {
    if (setns(fd, CLONE_NEWNET))
        die("setns");
}

// ------------------------------------------------------------------ netlink (set-up only)
struct nb {
    char b[4096];
    int l;
};
static struct nlmsghdr *nlm(struct nb *b, int t, int f) {
    struct nlmsghdr *h = (void *)(b->b + b->l);
    memset(h, 0, 16);
    h->nlmsg_type = t;
    h->nlmsg_flags = f | NLM_F_REQUEST | NLM_F_ACK;
    b->l += 16;
    return h;
}
static void np(struct nb *b, const void *p, int n) {
    memcpy(b->b + b->l, p, n);
    b->l += (n + 3) & ~3;
}
static int na(struct nb *b, int t, const void *p, int n) {
    int o = b->l;
    struct rtattr *a = (void *)(b->b + o);
    a->rta_type = t;
    a->rta_len = 4 + n;
    b->l += 4;
    if (n)
        np(b, p, n);
    return o;
}
static void ne(struct nb *b, int o) {
    ((struct rtattr *)(b->b + o))->rta_len = b->l - o;
}
static int nx(int s, struct nb *b, struct nlmsghdr *h) {
    h->nlmsg_len = b->l - ((char *)h - b->b);
    char r[8192];
    if (send(s, b->b, b->l, 0) < 0)
        die("send");
    if (recv(s, r, sizeof r, 0) < 0)
        die("recv");
    b->l = 0;
    return ((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)r))->error;
}
static int rts(void) {
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}
static void lo_up(void) {
    int s = rts();
    struct nb b = {.l = 0};
    struct nlmsghdr *h = nlm(&b, RTM_NEWLINK, 0);
    struct ifinfomsg m = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    np(&b, &m, sizeof m);
    nx(s, &b, h);
    close(s);
}
static void mkbridge(const char *name, int addr) {
    int s = rts();
    struct nb b = {.l = 0};
    struct nlmsghdr *h = nlm(&b, RTM_NEWLINK, NLM_F_CREATE);
    struct ifinfomsg m = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    np(&b, &m, sizeof m);
    na(&b, IFLA_IFNAME, name, strlen(name) + 1);
    uint8_t mac[6] = {2, 0xaa, 0, 0, 0, 1};
    na(&b, IFLA_ADDRESS, mac, 6);
    int l = na(&b, IFLA_LINKINFO, 0, 0);
    na(&b, IFLA_INFO_KIND, "bridge", 7);
    ne(&b, l);
    int e = nx(s, &b, h);
    if (e) {
        errno = -e;
        die("bridge");
    }
    if (addr) {
        h = nlm(&b, RTM_NEWADDR, NLM_F_CREATE);
        struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = if_nametoindex(name)};
        np(&b, &a, sizeof a);
        uint8_t ip[4] = {10, 88, 0, 1}, bc[4] = {10, 88, 255, 255};
        na(&b, IFA_LOCAL, ip, 4);
        na(&b, IFA_ADDRESS, ip, 4);
        na(&b, IFA_BROADCAST, bc, 4);
        e = nx(s, &b, h);
        if (e) {
            errno = -e;
            die("addr");
        }
        h = nlm(&b, RTM_NEWADDR, NLM_F_CREATE);
        struct ifaddrmsg a6 = {
            .ifa_family = AF_INET6, .ifa_prefixlen = 64, .ifa_flags = 2, .ifa_index = if_nametoindex(name)};
        np(&b, &a6, sizeof a6);
        uint8_t i6[16] = {0xfd, 0, 0, 0x88, [15] = 1};
        na(&b, IFA_LOCAL, i6, 16);
        na(&b, IFA_ADDRESS, i6, 16);
        nx(s, &b, h);
    }
    close(s);
}
static int portser;
static void mkports(const char *br, int n, int sinkfd) {
    int s = rts();
    int bi = if_nametoindex(br);
    for (int i = 0; i < n; i++) {
        struct nb b = {.l = 0};
        struct nlmsghdr *h = nlm(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        struct ifinfomsg m = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
        char hn[16], pn[16];
        int k = portser++;
        sprintf(hn, "vp%d", k);
        sprintf(pn, "p%d", k);
        np(&b, &m, sizeof m);
        na(&b, IFLA_IFNAME, hn, strlen(hn) + 1);
        na(&b, IFLA_MASTER, &bi, 4);
        int l = na(&b, IFLA_LINKINFO, 0, 0);
        na(&b, IFLA_INFO_KIND, "veth", 5);
        int d = na(&b, IFLA_INFO_DATA, 0, 0), p = na(&b, VETH_INFO_PEER, 0, 0);
        struct ifinfomsg m0 = {0};
        np(&b, &m0, sizeof m0);
        na(&b, IFLA_IFNAME, pn, strlen(pn) + 1);
        na(&b, IFLA_NET_NS_FD, &sinkfd, 4);
        ne(&b, p);
        ne(&b, d);
        ne(&b, l);
        int e = nx(s, &b, h);
        if (e) {
            errno = -e;
            die("port %d", i);
        }
    }
    close(s);
    int cur = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    enter(sinkfd);
    s = rts(); // peers up (cannot be up at creation: veth_open ENOTCONN)
    for (int i = 0; i < n; i++) {
        char pn[16];
        sprintf(pn, "p%d", portser - n + i);
        struct nb b = {.l = 0};
        struct nlmsghdr *h = nlm(&b, RTM_NEWLINK, 0);
        struct ifinfomsg m = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
        np(&b, &m, sizeof m);
        na(&b, IFLA_IFNAME, pn, strlen(pn) + 1);
        int e = nx(s, &b, h);
        if (e) {
            errno = -e;
            die("port up %d", i);
        }
    }
    close(s);
    enter(cur);
    close(cur);
}

// ------------------------------------------------------------------ running a plugin
static char OUT[65536];
static size_t outlen;
static char ENVB[24][256];
static char *ENVP[25];
static int nenv;
static void env0(void) {
    nenv = 0;
}
static void env(const char *f, ...) {
    va_list a;
    va_start(a, f);
    vsnprintf(ENVB[nenv], 256, f, a);
    va_end(a);
    ENVP[nenv] = ENVB[nenv];
    ENVP[++nenv] = 0;
}
static int run(const char *bin, const char *in, struct res *r) {
    int pi[2], po[2];
    char *av[] = {(char *)bin, 0};
    if (access(bin, X_OK)) {
        memset(r, 0, sizeof *r);
        r->rc = 99;
        return 99;
    }
    if (pipe2(pi, O_CLOEXEC) || pipe2(po, O_CLOEXEC))
        die("pipe");
    size_t il = strlen(in);
    if (write(pi[1], in, il) != (ssize_t)il)
        die("stdin");
    close(pi[1]);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, pi[0], 0);
    posix_spawn_file_actions_adddup2(&fa, po[1], 1);
    posix_spawn_file_actions_adddup2(&fa, errfd, 2);
    pid_t pid;
    int st;
    struct rusage ru;
    uint64_t t0 = now();
    int e = posix_spawn(&pid, bin, &fa, 0, av, ENVP);
    if (e) {
        errno = e;
        die("spawn %s", bin);
    }
    while (wait4(pid, &st, 0, &ru) < 0)
        if (errno != EINTR)
            die("wait4");
    uint64_t t1 = now();
    close(pi[0]);
    close(po[1]);
    outlen = 0;
    ssize_t k;
    while (outlen < sizeof OUT - 1 && (k = read(po[0], OUT + outlen, sizeof OUT - 1 - outlen)) > 0)
        outlen += k;
    OUT[outlen] = 0;
    close(po[0]);
    posix_spawn_file_actions_destroy(&fa);
    r->wall = t1 - t0;
    r->u = ru.ru_utime.tv_sec * 1000000ull + ru.ru_utime.tv_usec;
    r->s = ru.ru_stime.tv_sec * 1000000ull + ru.ru_stime.tv_usec;
    r->rss = ru.ru_maxrss;
    r->rc = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
    if (r->rc && r->rc != 99 && verbose)
        fprintf(stderr, "[%s rc=%d] %s\n", bin, r->rc, OUT);
    return r->rc;
}
struct var {
    const char *name, *ver;
    int masq, dual;
};
static int isl(int l) {
    return strstr(labels[l], "limit") == labels[l];
}
static void mkdirs(const char *p) {
    char b[300];
    snprintf(b, 300, "%s", p);
    for (char *q = b + 1; *q; q++)
        if (*q == '/') {
            *q = 0;
            mkdir(b, 0755);
            *q = '/';
        }
    mkdir(b, 0755);
}
static char DIRB[300]; // data dir
static const char *netname(void) {
    return "perfnet";
}
static void conf(char *b, const struct var *v, const char *prev) {
    b += sprintf(b,
                 "{\"cniVersion\":\"%s\",\"name\":\"%s\",\"type\":\"bridge\",\"bridge\":\"cni0\",\"isGateway\":true,"
                 "\"hairpinMode\":true,\"ipMasq\":%s,",
                 v->ver, netname(), v->masq ? "true" : "false");
    if (v->masq == 2)
        b += sprintf(b, "\"ipMasqBackend\":\"nftables\",");
    if (v->masq == 1)
        b += sprintf(b, "\"ipMasqBackend\":\"iptables\",");
    b += sprintf(b,
                 "\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s\",\"ranges\":[[{\"subnet\":\"10.88.0.0/"
                 "16\"}]%s],\"routes\":[{\"dst\":\"0.0.0.0/0\"}%s]}",
                 DIRB, v->dual ? ",[{\"subnet\":\"fd00:88::/64\"}]" : "", v->dual ? ",{\"dst\":\"::/0\"}" : "");
    if (prev && prev[0] == '{')
        b += sprintf(b, ",\"prevResult\":%s", prev);
    sprintf(b, "}");
}
static char pbip[64];
static char extra[4][64];
static int nextra;
static const char *PATHENV = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static void cnienv(int l, const char *cmd, const char *cid, const char *ns, const char *ifn, const struct var *v) {
    env0();
    env("CNI_COMMAND=%s", cmd);
    env("CNI_CONTAINERID=%s", cid);
    env("CNI_NETNS=%s", ns);
    env("CNI_IFNAME=%s", ifn);
    env("CNI_PATH=%s", dirs[l]);
    env("PATH=%s", PATHENV);
    env("PB_BR=cni0");
    env("PB_DIR=%s/%s", DIRB, netname());
    if (pbip[0])
        env("PB_IP=%s", pbip);
    if (v->dual)
        env("PB_DUAL=1");
    if (v->masq == 2)
        env("PB_NFT=1");
    if (isl(l) && strstr(labels[l], "full"))
        env("PB_FULL=1");
    if (isl(l) && strstr(labels[l], "async"))
        env("PB_ASYNC=%d", strstr(labels[l], "async2") ? 2 : 1);
    if (isl(l) && v->masq == 2 && strstr(labels[l], "nftfirst"))
        env("PB_NFTDEL=1");
    if (isl(l) && v->masq == 2 && strstr(labels[l], "nftlast"))
        env("PB_NFTDEL=2");
    for (int i = 0; i < nextra; i++)
        env("%s", extra[i]);
}
static void grabip(void) {
    char *p = strstr(OUT, "\"10.88.");
    int i = 0;
    pbip[0] = 0;
    while (p) {
        i = 0;
        char *q = p + 1;
        while ((*q >= '0' && *q <= '9') || *q == '.')
            pbip[i++] = *q++;
        pbip[i] = 0;
        if (strcmp(pbip, "10.88.0.1") && strcmp(pbip, "10.88.0.0"))
            return;
        p = strstr(q, "\"10.88.");
    }
}
static const char *bin(int l, const char *p) {
    static char b[4][300];
    static int k;
    k = (k + 1) & 3;
    snprintf(b[k], 300, "%s/%s", dirs[l], p);
    return b[k];
}

struct host {
    char path[80];
    int fd;
    char dir[300];
    char sink[80];
    int sinkfd;
};
static void rmrf(const char *p) {
    DIR *d = opendir(p);
    struct dirent *e;
    char b[600];
    if (!d)
        return;
    while ((e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(b, 600, "%s/%s", p, e->d_name);
        if (unlink(b))
            rmrf(b);
    }
    closedir(d);
    rmdir(p);
}
static char CF[16384], PREV[8192]; // config, previous result
static void sh(const char *c) {
    int st = system(c);
    if (st)
        die("sh: %s -> %d", c, st);
}
static void nft_base(void) {
    sh("nft 'add table inet cni_plugins_masquerade; add chain inet cni_plugins_masquerade masq_checks; add chain inet "
       "cni_plugins_masquerade postrouting { type nat hook postrouting priority srcnat; }; add rule inet "
       "cni_plugins_masquerade postrouting ip daddr 224.0.0.0/4 return; add rule inet cni_plugins_masquerade "
       "postrouting goto masq_checks'");
}
static void host_up(struct host *h, int l, const struct var *v, const char *tag, int resident) {
    char t[64];
    snprintf(t, 64, "h%s%d", tag, l);
    mkns(h->path, t);
    h->fd = openns(h->path);
    h->sinkfd = -1;
    h->sink[0] = 0;
    snprintf(h->dir, 300, "%s/%s-%d", work, tag, l);
    rmrf(h->dir);
    char d[400];
    snprintf(d, 400, "%s/%s", h->dir, netname());
    mkdirs(d);
    enter(h->fd);
    lo_up();
    snprintf(DIRB, 300, "%s", h->dir);
    if (isl(l)) {
        mkbridge("cni0", 1);
        if (v->masq == 2)
            nft_base();
    }
    if (resident) {
        char p[80];
        mkns(p, "res");
        conf(CF, v, 0);
        cnienv(l, "ADD", "resident", p, "eth0", v);
        struct res r;
        run(bin(l, "bridge"), CF, &r);
        if (r.rc && r.rc != 99)
            fprintf(stderr, "resident ADD %s rc=%d %s\n", labels[l], r.rc, OUT);
        rec(v->name, "br ADD(first)", l, &r);
        snprintf(h->sink, 80, "%s", p);
    }
    enter(hostns0);
}
static void host_down(struct host *h) {
    close(h->fd);
    rmns(h->path);
    if (h->sink[0])
        rmns(h->sink);
    rmrf(h->dir);
}
static void use(struct host *h) {
    enter(h->fd);
    snprintf(DIRB, 300, "%s", h->dir);
}

static void one(int l, struct host *h, const struct var *v, const char *pod, int i, int warm, const char *vn, int lo,
                int check) {
    char cid[80];
    struct res r;
    snprintf(cid, 80, "%08x%08x%08x%08x%08x%08x%08x%08x", i * 2654435761u, l + 77, i, 0x1234567, i ^ 0x5a5a5a5a, 99, 7,
             ser);
    use(h);
    pbip[0] = 0;
    char lc[256];
    sprintf(lc, "{\"cniVersion\":\"%s\",\"name\":\"lo\",\"type\":\"loopback\"}", v->ver);
    if (lo) {
        cnienv(l, "ADD", cid, pod, "lo", v);
        run(bin(l, "loopback"), lc, &r);
        if (!warm)
            rec(vn, "lo ADD", l, &r);
    }
    conf(CF, v, 0);
    cnienv(l, "ADD", cid, pod, "eth0", v);
    run(bin(l, "bridge"), CF, &r);
    if (!warm)
        rec(vn, "br ADD", l, &r);
    static int shown3;
    if (r.rc && shown3++ < 5)
        fprintf(stderr, "ADD %s rc=%d %.200s\n", labels[l], r.rc, OUT);
    grabip();
    snprintf(PREV, sizeof PREV, "%s", OUT);
    conf(CF, v, PREV);
    if (check) {
        cnienv(l, "CHECK", cid, pod, "eth0", v);
        run(bin(l, "bridge"), CF, &r);
        if (!warm)
            rec(vn, "br CHECK", l, &r);
        if (r.rc && r.rc != 99)
            fprintf(stderr, "CHECK %s rc=%d %.200s\n", labels[l], r.rc, OUT);
    }
    if (lo && check) {
        cnienv(l, "CHECK", cid, pod, "lo", v);
        run(bin(l, "loopback"), lc, &r);
        if (!warm)
            rec(vn, "lo CHECK", l, &r);
    }
    cnienv(l, "DEL", cid, pod, "eth0", v);
    run(bin(l, "bridge"), CF, &r);
    if (!warm)
        rec(vn, "br DEL", l, &r);
    if (r.rc && r.rc != 99)
        fprintf(stderr, "DEL %s rc=%d %.200s\n", labels[l], r.rc, OUT);
    if (check && !isl(l)) {
        cnienv(l, "DEL", cid, pod, "eth0", v);
        run(bin(l, "bridge"), CF, &r);
        if (!warm)
            rec(vn, "br DEL(again)", l, &r);
    }
    if (lo) {
        cnienv(l, "DEL", cid, pod, "lo", v);
        run(bin(l, "loopback"), lc, &r);
        if (!warm)
            rec(vn, "lo DEL", l, &r);
    }
    pbip[0] = 0;
    enter(hostns0);
}

static void settle(int maxs) { // wait until the machine is >= 92% idle for 2 s
    int ok = 0;
    uint64_t end = now() + maxs * 1000000000ull;
    unsigned long p[8] = {0}, c[8];
    while (now() < end && ok < 2) {
        FILE *f = fopen("/proc/stat", "r");
        fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu", &c[0], &c[1], &c[2], &c[3], &c[4], &c[5], &c[6]);
        fclose(f);
        unsigned long t = 0;
        for (int i = 0; i < 7; i++)
            t += c[i] - p[i];
        if (p[3] && (c[3] - p[3] + c[4] - p[4]) * 100 >= t * 92)
            ok++;
        else
            ok = 0;
        memcpy(p, c, sizeof p);
        sleep(1);
    }
    if (ok < 2)
        fprintf(stderr, "  (machine not quiet)\n");
}
static int want(const char *list, const char *x) {
    if (!list)
        return 1;
    char b[256];
    snprintf(b, 256, ",%s,", list);
    char k[64];
    snprintf(k, 64, ",%s,", x);
    return strstr(b, k) != 0;
}
static const char *vlist;
static struct var VARS[] = {
    {"v4-1.0", "1.0.0", 0, 0}, {"v4-1.1", "1.1.0", 0, 0}, {"ds-1.0", "1.0.0", 0, 1}, {"v4-ipt", "1.0.0", 1, 0},
    {"v4-nft", "1.0.0", 2, 0}, {"ds-ipt", "1.0.0", 1, 1}, {"ds-nft", "1.0.0", 2, 1}, {0}};

static void t_base(void) {
    for (struct var *v = VARS; v->name; v++) {
        if (!want(vlist, v->name))
            continue;
        struct host H[MAXL];
        char(*pods)[80] = malloc(80 * (N + WARM) * nl);
        for (int l = 0; l < nl; l++)
            host_up(&H[l], l, v, v->name, 1);
        for (int i = 0; i < (N + WARM) * nl; i++)
            mkns(pods[i], "pod");
        usleep(300000);
        settle(20);
        for (int i = 0; i < N + WARM; i++)
            for (int q = 0, l = i % nl; q < nl; q++, l = (l + 1) % nl)
                one(l, &H[l], v, pods[i * nl + l], i, i < WARM, v->name, 1, 1);
        for (int i = 0; i < (N + WARM) * nl; i++)
            rmns(pods[i]);
        for (int l = 0; l < nl; l++)
            host_down(&H[l]);
        free(pods);
        sleep(2);
    }
    report();
}
static void t_misc(void) { // VERSION, STATUS, host-local alone, lower bounds
    static struct var v0 = {"misc", "1.0.0", 0, 0}, v1 = {"misc", "1.1.0", 0, 0}, vd = {"misc-ds", "1.0.0", 0, 1};
    struct host H[MAXL];
    struct res r;
    for (int l = 0; l < nl; l++)
        host_up(&H[l], l, &v0, "misc", 0);
    const char *pl[] = {"bridge", "host-local", "loopback"};
    for (int i = 0; i < N + WARM; i++)
        for (int q = 0, l = i % nl; q < nl; q++, l = (l + 1) % nl) {
            char op[40];
            use(&H[l]);
            char cid[40];
            sprintf(cid, "c%d", i);
            env0();
            run("./limit-bin/empty", "", &r);
            if (i >= WARM)
                rec("floor", "empty static", l, &r);
            for (int k = 0; k < 3; k++) {
                cnienv(l, "VERSION", "", "", "", &v0);
                run(bin(l, pl[k]), "{\"cniVersion\":\"1.0.0\"}", &r);
                sprintf(op, "%s VER", pl[k]);
                if (i >= WARM)
                    rec("misc", op, l, &r);
            }
            conf(CF, &v1, 0);
            cnienv(l, "STATUS", "", "", "", &v1);
            run(bin(l, "bridge"), CF, &r);
            if (i >= WARM)
                rec("misc-1.1", "bridge STATUS", l, &r);
            for (int d = 0; d < 2; d++) {
                struct var *v = d ? &vd : &v0;
                pbip[0] = 0;
                conf(CF, v, 0);
                cnienv(l, "ADD", cid, "/run/netns/x", "eth0", v);
                run(bin(l, "host-local"), CF, &r);
                if (i >= WARM)
                    rec(v->name, "hl ADD", l, &r);
                grabip();
                cnienv(l, "CHECK", cid, "/run/netns/x", "eth0", v);
                run(bin(l, "host-local"), CF, &r);
                if (i >= WARM)
                    rec(v->name, "hl CHECK", l, &r);
                cnienv(l, "DEL", cid, "/run/netns/x", "eth0", v);
                run(bin(l, "host-local"), CF, &r);
                if (i >= WARM)
                    rec(v->name, "hl DEL", l, &r);
                pbip[0] = 0;
            }
            enter(hostns0);
        }
    for (int l = 0; l < nl; l++)
        host_down(&H[l]);
    report();
}
static void t_ns(void) { // kernel netns create / teardown
    int n = N;
    char(*p)[80] = malloc(80 * n);
    struct res r = {0};
    struct host h;
    static struct var v0 = {"netns", "1.0.0", 0, 0};
    (void)v0;
    mkns(h.path, "nsh");
    h.fd = openns(h.path);
    enter(h.fd);
    lo_up();
    mkbridge("cni0", 1); // veth into dying ns
    for (int i = 0; i < n; i++) {
        uint64_t t = now();
        mkns(p[i], "n");
        r.wall = now() - t;
        rec("netns", "create", 0, &r);
    }
    for (int i = 0; i < n; i++) {
        int f = openns(p[i]);
        mkports("cni0", 1, f);
        close(f);
        char nm[16];
        sprintf(nm, "vp%d", portser - 1);
        uint64_t t = now();
        rmns(p[i]);
        uint64_t t1 = now();
        r.wall = t1 - t;
        rec("netns", "umount+unlink", 0, &r);
        while (if_nametoindex(nm))
            usleep(200);
        r.wall = now() - t;
        rec("netns", "veth gone after", 0, &r);
    }
    enter(hostns0);
    close(h.fd);
    rmns(h.path);
    free(p);
    report();
}
static void fill_dir(const char *d, int n) { // n foreign reservations 10.88.0.2 ..
    char p[600];
    static char c[128];
    for (int i = 0; i < n; i++) {
        unsigned a = 2 + i;
        snprintf(p, 600, "%s/10.88.%u.%u", d, a >> 8, a & 255);
        int f = open(p, O_WRONLY | O_CREAT | O_EXCL, 0600);
        int k = sprintf(c, "%08x%08x%08x%08x%08x%08x%08x%08x\r\neth0", i, 1, 2, 3, 4, 5, 6, 7);
        if (write(f, c, k) != k)
            die("fill");
        close(f);
    }
    snprintf(p, 600, "%s/last_reserved_ip.0", d);
    int f = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    unsigned a = n + 1;
    int k = sprintf(c, "10.88.%u.%u", a >> 8, a & 255);
    if (write(f, c, k) != k)
        die("fill");
    close(f);
}
static void t_ipam(void) {
    int sizes[] = {0, 100, 1000, 10000, 60000};
    static struct var v0 = {"x", "1.0.0", 0, 0}, v1 = {"x", "1.1.0", 0, 0};
    for (int si = 0; si < 5; si++) {
        int n = sizes[si];
        char vn[40];
        sprintf(vn, "ipam-%d", n);
        int it = n >= 60000 ? (N > 15 ? 15 : N) : n >= 10000 ? (N > 30 ? 30 : N) : N;
        struct host H[MAXL];
        struct res r;
        for (int l = 0; l < nl; l++) {
            host_up(&H[l], l, &v0, "ipam", 0);
            char d[600];
            snprintf(d, 600, "%s/%s", H[l].dir, netname());
            fill_dir(d, n);
        }
        for (int i = 0; i < it + 1; i++)
            for (int q = 0, l = i % nl; q < nl; q++, l = (l + 1) % nl) {
                use(&H[l]);
                char cid[40];
                sprintf(cid, "c%d", i);
                pbip[0] = 0;
                conf(CF, &v0, 0);
                cnienv(l, "ADD", cid, "/run/netns/x", "eth0", &v0);
                run(bin(l, "host-local"), CF, &r);
                if (i)
                    rec(vn, "hl ADD", l, &r);
                grabip();
                cnienv(l, "CHECK", cid, "/run/netns/x", "eth0", &v0);
                run(bin(l, "host-local"), CF, &r);
                if (i)
                    rec(vn, "hl CHECK", l, &r);
                if (!isl(l)) {
                    conf(CF, &v1, 0);
                    cnienv(l, "STATUS", "", "", "", &v1);
                    run(bin(l, "host-local"), CF, &r);
                    if (i)
                        rec(vn, "hl STATUS", l, &r);
                    conf(CF, &v0, 0);
                }
                cnienv(l, "DEL", cid, "/run/netns/x", "eth0", &v0);
                run(bin(l, "host-local"), CF, &r);
                if (i)
                    rec(vn, "hl DEL", l, &r);
                if (isl(l)) {
                    pbip[0] = 0;
                    enter(hostns0);
                    continue;
                }
                cnienv(l, "DEL", cid, "/run/netns/x", "eth0", &v0);
                run(bin(l, "host-local"), CF, &r);
                if (i)
                    rec(vn, "hl DEL(none)", l, &r);
                pbip[0] = 0;
                enter(hostns0);
            }
        for (int l = 0; l < nl; l++)
            host_down(&H[l]);
    }
    report();
}
static int sink6;
static void t_ports(void) { // one label at a time: only its ports exist while it is measured
    int sizes[] = {0, 100, 500, 1000};
    static struct var v0 = {"ports", "1.0.0", 0, 0}, v1 = {"ds-ports", "1.0.0", 0, 1};
    for (int du = 0; du < 2; du++)
        for (int si = 0; si < 4; si++)
            for (int l = 0; l < nl; l++) {
                int n = sizes[si];
                struct var *v = du ? &v1 : &v0;
                char vn[40];
                sprintf(vn, "%sports-%d", du ? "ds-" : "", n);
                struct host H;
                int it = du ? (N > 20 ? 20 : N) : N;
                char(*pods)[80] = malloc(80 * (it + 2));
                char sk[80];
                host_up(&H, l, v, "ports", 1);
                mkns(sk, "sink");
                int f = openns(sk);
                enter(f);
                if (!sink6) {
                    int q = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
                    if (q >= 0) {
                        if (write(q, "1", 1) < 0) {
                        }
                        close(q);
                    }
                }
                enter(H.fd);
                uint64_t t0 = now();
                mkports("cni0", n, f);
                enter(hostns0);
                close(f);
                if (n)
                    printf("  %d ports created in %.1f ms (%.0f us each)\n", n, (now() - t0) / 1e6,
                           (now() - t0) / 1e3 / n);
                for (int i = 0; i < it + 2; i++)
                    mkns(pods[i], "pod");
                settle(40);
                for (int i = 0; i < it + 2; i++)
                    one(l, &H, v, pods[i], i, i < 2, vn, 0, 0);
                for (int i = 0; i < it + 2; i++)
                    rmns(pods[i]);
                rmns(sk);
                host_down(&H);
                free(pods);
                sleep(1);
                settle(60);
            }
    report();
}
static void t_masq(void) {
    int sizes[] = {0, 100, 500, 1000};
    static struct var vi = {"masq-ipt", "1.0.0", 1, 0}, vn_ = {"masq-nft", "1.0.0", 2, 0};
    for (int b = 0; b < 2; b++)
        for (int si = 0; si < 4; si++) {
            int n = sizes[si];
            struct var *v = b ? &vn_ : &vi;
            char vn[40];
            sprintf(vn, "%s-%d", b ? "nft" : "ipt", n);
            struct host H[MAXL];
            int it = N > 30 ? 30 : N;
            char(*pods)[80] = malloc(80 * (it + 2) * nl);
            for (int l = 0; l < nl; l++) {
                host_up(&H[l], l, v, "masq", 1);
                enter(H[l].fd);
                if (n) {
                    FILE *f = popen(b ? "nft -f -" : "iptables-restore -n -w", "w");
                    if (!f)
                        die("popen");
                    if (!b) {
                        fprintf(f, "*nat\n");
                        for (int i = 0; i < n; i++)
                            fprintf(f, ":CNI-%024x - [0:0]\n", i + 4096);
                    }
                    for (int i = 0; i < n; i++) {
                        unsigned a = 0x100 + i;
                        if (b)
                            fprintf(f,
                                    "add rule inet cni_plugins_masquerade masq_checks ip saddr 10.88.%u.%u ip daddr != "
                                    "10.88.0.0/16 masquerade comment \"%016x-%016x, net: perfnet, if: eth0, id: "
                                    "%032x%032x\"\n",
                                    a >> 8, a & 255, 77, i, i, i);
                        else
                            fprintf(f,
                                    "-A CNI-%024x -d 10.88.0.0/16 -m comment --comment \"name: \\\"perfnet\\\" id: "
                                    "\\\"%032x%032x\\\"\" -j ACCEPT\n-A CNI-%024x ! -d 224.0.0.0/4 -m comment "
                                    "--comment \"name: \\\"perfnet\\\" id: \\\"%032x%032x\\\"\" -j MASQUERADE\n-A "
                                    "POSTROUTING -s 10.88.%u.%u/32 -m comment --comment \"name: \\\"perfnet\\\" id: "
                                    "\\\"%032x%032x\\\"\" -j CNI-%024x\n",
                                    i + 4096, i, i, i + 4096, i, i, a >> 8, a & 255, i, i, i + 4096);
                    }
                    if (!b)
                        fprintf(f, "COMMIT\n");
                    int st = pclose(f);
                    if (st)
                        die("rules %d", st);
                }
                enter(hostns0);
            }
            for (int i = 0; i < (it + 2) * nl; i++)
                mkns(pods[i], "pod");
            usleep(500000);
            for (int i = 0; i < it + 2; i++)
                for (int q = 0, l = i % nl; q < nl; q++, l = (l + 1) % nl) {
                    if (isl(l) && !b)
                        continue;
                    one(l, &H[l], v, pods[i * nl + l], i, i < 2, vn, 0, 0);
                }
            for (int i = 0; i < (it + 2) * nl; i++)
                rmns(pods[i]);
            for (int l = 0; l < nl; l++)
                host_down(&H[l]);
            free(pods);
            sleep(2);
        }
    report();
}
// all at once: forked children wait on a pipe, then exec
static void burst(int l, const struct var *v, int n, const char *cmd, char (*pods)[80], const char *vn) {
    char d[200];
    pid_t *pid = malloc(n * sizeof *pid);
    int go[2];
    pipe(go);
    char b[700];
    for (int i = 0; i < n; i++) {
        char cid[80];
        snprintf(cid, 80, "%032x%032x", i + 1, 0xabc);
        snprintf(d, 200, "%s/out", work);
        mkdirs(d);
        snprintf(b, 700, "%s/%d.in", d, i);
        char o[8192] = "";
        if (*cmd == 'D') {
            char p[700];
            snprintf(p, 700, "%s/%d.out", d, i);
            int f = open(p, O_RDONLY);
            if (f >= 0) {
                int k = read(f, o, 8191);
                o[k > 0 ? k : 0] = 0;
                close(f);
            }
        }
        snprintf(OUT, sizeof OUT, "%s", o);
        pbip[0] = 0;
        if (o[0])
            grabip();
        conf(CF, v, o);
        int f = open(b, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (write(f, CF, strlen(CF)) < 0)
            die("w");
        lseek(f, 0, 0);
        snprintf(b, 700, "%s/%d.%s", d, i, *cmd == 'D' ? "del" : "out");
        int fo = open(b, O_RDWR | O_CREAT | O_TRUNC, 0600);
        cnienv(l, cmd, cid, pods[i], "eth0", v);
        pid[i] = fork();
        if (!pid[i]) {
            char c;
            close(go[1]);
            dup2(f, 0);
            dup2(fo, 1);
            dup2(errfd, 2);
            if (read(go[0], &c, 1)) {
            };
            char *av[] = {(char *)bin(l, "bridge"), 0};
            execve(av[0], av, ENVP);
            _exit(127);
        }
        close(f);
        close(fo);
    }
    pbip[0] = 0;
    usleep(300000);
    close(go[0]);
    uint64_t t0 = now();
    close(go[1]);
    int fails = 0;
    uint64_t cpu = 0, last = 0, *fin = malloc(n * 8);
    for (int i = 0; i < n; i++) {
        int st;
        struct rusage ru;
        pid_t p;
        while ((p = wait4(-1, &st, 0, &ru)) < 0)
            ;
        last = now() - t0;
        fin[i] = last / 1000;
        cpu += ru.ru_utime.tv_sec * 1000000ull + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000ull +
               ru.ru_stime.tv_usec;
        if (!WIFEXITED(st) || WEXITSTATUS(st))
            fails++;
    }
    // duplicates
    int dup = 0, got = 0;
    char(*ips)[40] = calloc(n, 40);
    if (*cmd == 'A') {
        for (int i = 0; i < n; i++) {
            snprintf(b, 700, "%s/%d.out", d, i);
            int f = open(b, O_RDONLY);
            int k = read(f, OUT, 8000);
            OUT[k > 0 ? k : 0] = 0;
            close(f);
            if (strstr(OUT, "\"code\"")) {
                if (verbose || fails) {
                    static int shown;
                    if (shown++ < 4)
                        fprintf(stderr, "  fail: %.300s\n", OUT);
                }
                continue;
            }
            grabip();
            if (pbip[0]) {
                for (int j = 0; j < got; j++)
                    if (!strcmp(ips[j], pbip))
                        dup++;
                strcpy(ips[got++], pbip);
            }
        }
        pbip[0] = 0;
    } else
        for (int i = 0; i < n; i++) {
            snprintf(b, 700, "%s/%d.del", d, i);
            int f = open(b, O_RDONLY);
            int k = read(f, OUT, 8000);
            OUT[k > 0 ? k : 0] = 0;
            close(f);
            if (OUT[0]) {
                static int shown2;
                if (shown2++ < 4)
                    fprintf(stderr, "  del says: %.300s\n", OUT);
            }
        }
    char left[700];
    snprintf(left, 700, "%s/%s", DIRB, netname());
    DIR *dd = opendir(left);
    int files = 0;
    struct dirent *e;
    while (dd && (e = readdir(dd)))
        if (!strncmp(e->d_name, "10.", 3))
            files++;
    if (dd)
        closedir(dd);
    qsort(fin, n, 8, cmpu);
    printf("%-14s %-4s %-10s n=%d total_wall=%.1f ms  p50_done=%.1f ms  first=%.1f ms  per-op=%.2f ms  cpu_total=%.1f "
           "ms  fails=%d dup=%d got=%d v4files_left=%d\n",
           vn, cmd, labels[l], n, last / 1e6, fin[n / 2] / 1e3, fin[0] / 1e3, last / 1e6 / n, cpu / 1e3, fails, dup,
           got, files);
    fflush(stdout);
    struct res r = {.wall = last, .u = cpu};
    if (csv)
        fprintf(csv, "conc-%s-%d,%s,%s,%llu,%llu,0,0,%d\n", vn, n, cmd, labels[l], (unsigned long long)r.wall / 1000,
                (unsigned long long)cpu, fails);
    free(fin);
    free(pid);
    free(ips);
}
static int reps = 3;
static void t_conc(void) {
    static struct var V[] = {{"plain", "1.0.0", 0, 0}, {"ipt", "1.0.0", 1, 0}, {"nft", "1.0.0", 2, 0}, {0}};
    int ns[] = {1, 100, 200};
    for (struct var *v = V; v->name; v++) {
        if (!want(vlist, v->name))
            continue;
        for (int k = 0; k < 3; k++)
            for (int rep = 0; rep < reps; rep++)
                for (int l = 0; l < nl; l++) {
                    if (isl(l) && v->masq == 1)
                        continue;
                    struct host h;
                    int n = ns[k];
                    char(*pods)[80] = malloc(80 * n);
                    host_up(&h, l, v, "conc", 1);
                    for (int i = 0; i < n; i++)
                        mkns(pods[i], "pod");
                    use(&h);
                    usleep(300000);
                    burst(l, v, n, "ADD", pods, v->name);
                    usleep(500000);
                    burst(l, v, n, "DEL", pods, v->name);
                    if (v->masq) {
                        FILE *f = popen(v->masq == 1 ? "iptables-save -t nat | grep -c ':CNI-'"
                                                     : "nft list table inet cni_plugins_masquerade | grep -c saddr",
                                        "r");
                        int c = -1;
                        if (f) {
                            fscanf(f, "%d", &c);
                            pclose(f);
                        }
                        printf("      masq entries left: %d (1 = the resident one)\n", c);
                    }
                    enter(hostns0);
                    for (int i = 0; i < n; i++)
                        rmns(pods[i]);
                    host_down(&h);
                    free(pods);
                    sleep(1 + n / 50);
                }
    }
    memset(rows, 0, sizeof rows);
    nrows = 0;
}
static void dropc(void) {
    sync();
    int f = open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (f < 0 || write(f, "3", 1) != 1)
        die("drop");
    close(f);
}
static void t_cold(void) {
    static struct var V[] = {{"cold-v4", "1.0.0", 0, 0}, {"cold-ipt", "1.0.0", 1, 0}, {0}};
    int it = N > 20 ? 20 : N;
    for (struct var *v = V; v->name; v++) {
        struct host H[MAXL];
        char(*pods)[80] = malloc(80 * it * nl);
        for (int l = 0; l < nl; l++)
            host_up(&H[l], l, v, "cold", 1);
        for (int i = 0; i < it * nl; i++)
            mkns(pods[i], "pod");
        for (int i = 0; i < it; i++)
            for (int l = 0; l < nl; l++) {
                if (isl(l) && v->masq)
                    continue;
                struct res r;
                use(&H[l]);
                char cid[64];
                sprintf(cid, "cold%d", i);
                struct var vv = *v;
                conf(CF, &vv, 0);
                dropc();
                cnienv(l, "ADD", cid, pods[i * nl + l], "eth0", v);
                run(bin(l, "bridge"), CF, &r);
                rec(v->name, "br ADD cold", l, &r);
                grabip();
                snprintf(PREV, sizeof PREV, "%s", OUT);
                conf(CF, v, PREV);
                cnienv(l, "DEL", cid, pods[i * nl + l], "eth0", v);
                run(bin(l, "bridge"), CF, &r);
                rec(v->name, "br DEL warm", l, &r);
                pbip[0] = 0;
                dropc();
                cnienv(l, "VERSION", "", "", "", v);
                run(bin(l, "bridge"), "{\"cniVersion\":\"1.0.0\"}", &r);
                rec(v->name, "bridge VER cold", l, &r);
                enter(hostns0);
            }
        for (int i = 0; i < it * nl; i++)
            rmns(pods[i]);
        for (int l = 0; l < nl; l++)
            host_down(&H[l]);
        free(pods);
    }
    report();
}
static void t_shell(char **cmd) { // runs a command in a prepared host netns of label 0, for strace or
                                  // experiments
    static struct var v = {"shell", "1.0.0", 0, 0};
    struct host h;
    char p[80];
    if (vlist && strstr(vlist, "ipt"))
        v.masq = 1;
    if (vlist && strstr(vlist, "nft"))
        v.masq = 2;
    if (vlist && strstr(vlist, "ds"))
        v.dual = 1;
    host_up(&h, 0, &v, "shell", 1);
    mkns(p, "pod");
    use(&h);
    conf(CF, &v, 0);
    char cf[600];
    snprintf(cf, 600, "%s/conf.json", h.dir);
    int f = open(cf, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (write(f, CF, strlen(CF)) < 0)
        die("w");
    close(f);
    cnienv(0, "ADD", "shellcid", p, "eth0", &v);
    env("PB_CONF=%s", cf);
    env("BIN=%s", dirs[0]);
    env("HOME=/");
    pid_t k = fork();
    if (!k) {
        execve(cmd[0], cmd, ENVP);
        _exit(127);
    }
    int st;
    waitpid(k, &st, 0);
    enter(hostns0);
    rmns(p);
    host_down(&h);
    exit(WEXITSTATUS(st));
}
int main(int ac, char **av) {
    const char *what = "all";
    int nolimit = 0;
    int i = 1;
    setvbuf(stdout, 0, _IOLBF, 0);
    for (; i < ac && av[i][0] == '-'; i++) {
        if (!strcmp(av[i], "-n"))
            N = atoi(av[++i]);
        else if (!strcmp(av[i], "-t"))
            what = av[++i];
        else if (!strcmp(av[i], "-V"))
            vlist = av[++i];
        else if (!strcmp(av[i], "-v"))
            verbose = 1;
        else if (!strcmp(av[i], "-w"))
            work = av[++i];
        else if (!strcmp(av[i], "-r"))
            reps = atoi(av[++i]);
        else if (!strcmp(av[i], "--no-limit"))
            nolimit = 1;
        else if (!strcmp(av[i], "--sink6"))
            sink6 = 1;
        else if (!strcmp(av[i], "--path"))
            PATHENV = av[++i];
        else if (!strcmp(av[i], "-c")) {
            csv = fopen(av[++i], "a");
        } else if (!strcmp(av[i], "--")) {
            i++;
            break;
        } else {
            fprintf(stderr, "usage: bench [-n N] [-t TESTS] [-V VARIANTS] [-c out.csv] [-w WORKDIR] [-r reps] [--path "
                            "PATH] [--no-limit] [-v] BIN_DIR[=LABEL] ...\n TESTS: all or a comma list of "
                            "base,misc,ns,ipam,ports,masq,conc,cold ; or: -t shell BIN_DIR /bin/cmd args (runs cmd in "
                            "a prepared host netns)\n VARIANTS (base): "
                            "v4-1.0,v4-1.1,ds-1.0,v4-ipt,v4-nft,ds-ipt,ds-nft (conc): plain,ipt,nft\n");
            return 2;
        }
    }
    char **shellcmd = 0;
    for (; i < ac && nl < MAXL - 2; i++) {
        char *e = strchr(av[i], '=');
        if (e)
            *e++ = 0;
        dirs[nl] = av[i];
        if (!e) {
            e = strrchr(av[i], '/');
            e = e && e[1] ? e + 1 : av[i];
        }
        labels[nl++] = e;
        if (!strcmp(what, "shell")) {
            shellcmd = &av[i + 1];
            break;
        }
    }
    if (!nl) {
        fprintf(stderr, "no BIN_DIR\n");
        return 2;
    }
    if (!nolimit && !shellcmd) {
        static char ld[300];
        snprintf(ld, 300, "%s", av[0]);
        char *s = strrchr(ld, '/');
        strcpy(s ? s : ld, s ? "/limit-bin" : "limit-bin");
        char *rp = realpath(ld, 0);
        if (rp) {
            dirs[nl] = rp;
            labels[nl++] = "limit";
            dirs[nl] = rp;
            labels[nl++] = "limit+full";
        }
    }
    if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0))
        die("mntns");
    if (mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
        die("tmpfs /run");
    mkdirs("/run/netns");
    mkdirs(work);
    if (unshare(CLONE_NEWNET))
        die("netns");
    hostns0 = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    lo_up();
    char el[300];
    snprintf(el, 300, "%s/stderr.log", work);
    errfd = open(el, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    struct rlimit rl = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &rl);
    if (shellcmd) {
        errfd = 2;
        t_shell(shellcmd);
    }
    int all = !strcmp(what, "all");
#define T(x)                                                                                                           \
    if (all || want(what, #x)) {                                                                                       \
        printf("== " #x "\n");                                                                                         \
        t_##x();                                                                                                       \
    }
    T(misc) T(base) T(ns) T(ipam) T(ports) T(masq) T(conc) T(cold) return 0;
}
