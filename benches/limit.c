// limit.c - the lower bound: only the kernel work of bridge's ADD and DEL, of host-local's
// reservation and of loopback, with raw system calls and batched netlink, without libc.
// It reads the CNI environment, so its folder can be measured like a folder of plugins.
// It does NOT parse stdin; it reads PB_BR (bridge), PB_DIR (reservation dir), PB_IP (DEL).
// PB_FULL=1 : also sets the three per-interface sysctls and reads ip_forward, as the reference.
// PB_DUAL=1 : also a second, IPv6 range.
// PB_NFT=1  : also the nftables masquerade rule, as one raw nfnetlink batch (the table and chain
//             must exist).
// The base name of argv[0] (bridge | host-local | loopback | empty) selects the work.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;
#define NI static __attribute__((noinline))
static inline long sc(long n, long a, long b, long c, long d, long e, long f) {
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}
#define SYS_read 0
#define SYS_write 1
#define SYS_open 2
#define SYS_close 3
#define SYS_ioctl 16
#define SYS_pwrite64 18
#define SYS_socket 41
#define SYS_sendto 44
#define SYS_recvfrom 45
#define SYS_exit_group 231
#define SYS_flock 73
#define SYS_ftruncate 77
#define SYS_clock_gettime 228
#define SYS_openat 257
#define SYS_unlinkat 263
#define SYS_setns 308
static u64 sl(const char *s) {
    u64 n = 0;
    while (s[n])
        n++;
    return n;
}
void *memcpy(void *d, const void *s, unsigned long n) {
    u8 *a = d;
    const u8 *b = s;
    while (n--)
        *a++ = *b++;
    return d;
}
void *memset(void *d, int c, unsigned long n) {
    u8 *a = d;
    while (n--)
        *a++ = c;
    return d;
}
static char **ENV;
NI char *ge(const char *k) {
    u64 n = sl(k);
    for (char **e = ENV; *e; e++) {
        u64 i = 0;
        while (i < n && (*e)[i] == k[i])
            i++;
        if (i == n && (*e)[n] == '=')
            return *e + n + 1;
    }
    return 0;
}
NI void die(const char *w, long e) {
    char b[96];
    u64 n = 0;
    const char *p = "limit: ";
    while (*p)
        b[n++] = *p++;
    while (*w && n < 70)
        b[n++] = *w++;
    b[n++] = ' ';
    if (e < 0)
        e = -e;
    char t[12];
    int k = 0;
    do {
        t[k++] = '0' + e % 10;
        e /= 10;
    } while (e);
    while (k)
        b[n++] = t[--k];
    b[n++] = '\n';
    sc(SYS_write, 2, (long)b, n, 0, 0, 0);
    sc(SYS_exit_group, 1, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}
static u64 T[24];
static const char *TN[24];
static int tn;
static int timing;
NI void tick(const char *n) {
    if (!timing)
        return;
    long ts[2];
    sc(SYS_clock_gettime, 1, (long)ts, 0, 0, 0, 0);
    TN[tn] = n;
    T[tn++] = ts[0] * 1000000000UL + ts[1];
}
// ---- netlink building
static u8 B[2048];
static u32 bl;
static u32 seq = 1;
static u32 mstart(u16 type, u16 flags) {
    u32 o = bl;
    *(u32 *)(B + o) = 0;
    *(u16 *)(B + o + 4) = type;
    *(u16 *)(B + o + 6) = flags;
    *(u32 *)(B + o + 8) = seq++;
    *(u32 *)(B + o + 12) = 0;
    bl += 16;
    return o;
}
static void mend(u32 o) {
    *(u32 *)(B + o) = bl - o;
}
static void put(const void *p, u32 n) {
    memcpy(B + bl, p, n);
    bl += n;
    while (bl & 3)
        B[bl++] = 0;
}
static void attr(u16 t, const void *p, u32 n) {
    *(u16 *)(B + bl) = 4 + n;
    *(u16 *)(B + bl + 2) = t;
    bl += 4;
    put(p, n);
}
static void attrs(u16 t, const char *s) {
    attr(t, s, sl(s) + 1);
}
static void attr32(u16 t, u32 v) {
    attr(t, &v, 4);
}
static void attrbe(u16 t, u32 v) {
    v = __builtin_bswap32(v);
    attr(t, &v, 4);
}
static u32 nst(u16 t) {
    u32 o = bl;
    *(u16 *)(B + o + 2) = t;
    bl += 4;
    return o;
}
static void nen(u32 o) {
    *(u16 *)(B + o) = bl - o;
}
static u8 R[4096];
NI long xfer(int s, const char *what) {
    long r = sc(SYS_sendto, s, (long)B, bl, 0, 0, 0);
    if (r < 0)
        die(what, r);
    r = sc(SYS_recvfrom, s, (long)R, sizeof R, 0, 0, 0);
    if (r < 0)
        die(what, r);
    int e = *(int *)(R + 16);
    if (*(u16 *)(R + 4) != 2 || e)
        die(what, e);
    return r;
}
struct ifr {
    char n[16];
    union {
        int i;
        char pad[24];
    } u;
};
NI int ifindex(int s, const char *n) {
    struct ifr q;
    memset(&q, 0, sizeof q);
    for (int i = 0; n[i] && i < 15; i++)
        q.n[i] = n[i];
    long r = sc(SYS_ioctl, s, 0x8933, (long)&q, 0, 0, 0);
    if (r < 0)
        die("ifindex", r);
    return q.u.i;
}
NI int fmt4(char *o, u32 ip) {
    int n = 0;
    for (int s = 24; s >= 0; s -= 8) {
        u32 v = (ip >> s) & 255;
        if (v > 99)
            o[n++] = '0' + v / 100;
        if (v > 9)
            o[n++] = '0' + v / 10 % 10;
        o[n++] = '0' + v % 10;
        if (s)
            o[n++] = '.';
    }
    o[n] = 0;
    return n;
}
NI u32 prs4(const char *p) {
    u32 r = 0, v = 0;
    for (;; p++) {
        if (*p >= '0' && *p <= '9')
            v = v * 10 + *p - '0';
        else {
            r = r << 8 | v;
            v = 0;
            if (*p != '.')
                break;
        }
    }
    return r;
}
NI int fmt6(char *o, u32 v) {
    const char *p = "fd00:88::";
    int n = 0;
    while (*p)
        o[n++] = *p++;
    int st = 0;
    for (int s = 28; s >= 0; s -= 4) {
        u32 d = (v >> s) & 15;
        if (d || st || !s) {
            st = 1;
            o[n++] = d < 10 ? '0' + d : 'a' + d - 10;
        }
        if (s == 16) {
            if (st)
                o[n++] = ':';
        }
    }
    o[n] = 0;
    return n;
}
static char *cid, *ifn;
NI void sysctl_w(const char *a, const char *i, const char *b, const char *v) {
    char p[128];
    int n = 0;
    while (*a)
        p[n++] = *a++;
    while (*i)
        p[n++] = *i++;
    while (*b)
        p[n++] = *b++;
    p[n] = 0;
    long f = sc(SYS_open, (long)p, 1, 0, 0, 0, 0);
    if (f < 0)
        return;
    sc(SYS_write, f, (long)v, 1, 0, 0, 0);
    sc(SYS_close, f, 0, 0, 0, 0, 0);
}
NI u32 reserve(int dfd) { // host-local ADD: flock + O_EXCL + last_reserved_ip.0
    long lk = sc(SYS_openat, dfd, (long)"lock", 2 | 0100, 0644, 0, 0);
    if (lk < 0)
        die("lock", lk);
    sc(SYS_flock, lk, 2, 0, 0, 0, 0);
    char b[40];
    long lf = sc(SYS_openat, dfd, (long)"last_reserved_ip.0", 2 | 0100, 0600, 0, 0);
    if (lf < 0)
        die("last", lf);
    long n = sc(SYS_read, lf, (long)b, 39, 0, 0, 0);
    u32 ip = 0x0a580001;
    if (n > 0) {
        b[n] = 0;
        ip = prs4(b);
    }
    char nm[20];
    int nl;
    long f;
    for (;;) {
        ip++;
        if ((ip & 0xffff) == 0xffff)
            ip = 0x0a580002;
        nl = fmt4(nm, ip);
        f = sc(SYS_openat, dfd, (long)nm, 2 | 0100 | 0200 | 02000000, 0600, 0, 0);
        if (f >= 0)
            break;
        if (f != -17)
            die("excl", f);
    }
    char c[160];
    int k = 0;
    for (char *p = cid; *p;)
        c[k++] = *p++;
    c[k++] = '\r';
    c[k++] = '\n';
    for (char *p = ifn; *p;)
        c[k++] = *p++;
    sc(SYS_write, f, (long)c, k, 0, 0, 0);
    sc(SYS_close, f, 0, 0, 0, 0, 0);
    sc(SYS_pwrite64, lf, (long)nm, nl, 0, 0, 0);
    if (n > nl)
        sc(SYS_ftruncate, lf, nl, 0, 0, 0, 0);
    if (ge("PB_DUAL")) {
        char m[40];
        int ml = fmt6(m, ip & 0xffff);
        f = sc(SYS_openat, dfd, (long)m, 2 | 0100 | 0200, 0600, 0, 0);
        if (f >= 0) {
            sc(SYS_write, f, (long)c, k, 0, 0, 0);
            sc(SYS_close, f, 0, 0, 0, 0, 0);
        }
        f = sc(SYS_openat, dfd, (long)"last_reserved_ip.1", 2 | 0100, 0600, 0, 0);
        sc(SYS_write, f, (long)m, ml, 0, 0, 0);
    }
    return ip;
}
NI void nftrule(
    u32 ip) { // appends to inet cni_plugins_masquerade/masq_checks the rule
              // ip saddr == IP ip daddr != 10.88.0.0/16 masquerade
    long s = sc(SYS_socket, 16, 3 | 02000000, 12, 0, 0, 0);
    if (s < 0)
        die("nfsock", s);
    bl = 0;
    u32 g = 0;
    u32 m = mstart(0x10, 1);
    u8 nf[4] = {0, 0, 0, 10};
    put(nf, 4);
    mend(m);
    m = mstart(0xa00 | 6 /*NEWRULE*/, 1 | 0x400 | 0x800 | 4);
    u8 nf1[4] = {1 /*inet*/, 0, 0, 0};
    put(nf1, 4);
    attrs(1, "cni_plugins_masquerade");
    attrs(2, "masq_checks");
    u32 ex = nst(4 | 0x8000), e, d, d2;
#define EX(name)                                                                                                       \
    e = nst(1 | 0x8000);                                                                                               \
    attrs(1, name);                                                                                                    \
    d = nst(2 | 0x8000)
#define EE                                                                                                             \
    nen(d);                                                                                                            \
    nen(e)
    EX("meta");
    attrbe(1, 1);
    attrbe(2, 15);
    EE; // meta nfproto => reg1
    EX("cmp");
    attrbe(1, 1);
    attrbe(2, 0);
    d2 = nst(3 | 0x8000);
    u8 fam = 2;
    attr(1, &fam, 1);
    nen(d2);
    EE;
    EX("payload");
    attrbe(1, 1);
    attrbe(2, 1);
    attrbe(3, 12);
    attrbe(4, 4);
    EE;
    EX("cmp");
    attrbe(1, 1);
    attrbe(2, 0);
    d2 = nst(3 | 0x8000);
    u32 be = __builtin_bswap32(ip);
    attr(1, &be, 4);
    nen(d2);
    EE;
    EX("payload");
    attrbe(1, 1);
    attrbe(2, 1);
    attrbe(3, 16);
    attrbe(4, 2);
    EE; // daddr first 2 bytes (/16)
    EX("cmp");
    attrbe(1, 1);
    attrbe(2, 1);
    d2 = nst(3 | 0x8000);
    u8 nn[2] = {10, 88};
    attr(1, nn, 2);
    nen(d2);
    EE;
    EX("masq");
    EE;
    nen(ex);
    mend(m);
    m = mstart(0x11, 1);
    put(nf, 4);
    mend(m);
    xfer(s, "nftrule");
    (void)g;
}
NI void
nftflush(void) { // deletes the rules of masq_checks in one batch, to time it; the socket stays open
                 // until exit
    long s = sc(SYS_socket, 16, 3 | 02000000, 12, 0, 0, 0);
    bl = 0;
    u8 nf[4] = {0, 0, 0, 10};
    u32 m = mstart(0x10, 1);
    put(nf, 4);
    mend(m);
    m = mstart(0xa00 | 8 /*DELRULE*/, 1 | 4);
    u8 nf1[4] = {1, 0, 0, 0};
    put(nf1, 4);
    attrs(1, "cni_plugins_masquerade");
    attrs(2, "masq_checks");
    mend(m);
    m = mstart(0x11, 1);
    put(nf, 4);
    mend(m);
    xfer(s, "nftflush");
}
NI int loopback(int add) {
    long nsfd = sc(SYS_open, (long)ge("CNI_NETNS"), 02000000, 0, 0, 0, 0);
    if (nsfd < 0)
        die("netns", nsfd);
    long r = sc(SYS_setns, nsfd, 0x40000000, 0, 0, 0, 0);
    if (r < 0)
        die("setns", r);
    long s = sc(SYS_socket, 16, 3 | 02000000, 0, 0, 0, 0);
    bl = 0;
    u32 m = mstart(16, 5);
    u32 im[4] = {0, 1, add ? 1 : 0, 1};
    put(im, 16);
    mend(m);
    xfer(s, "lo");
    sc(SYS_write, 1, (long)"{}\n", 3, 0, 0, 0);
    return 0;
}
int lmain(long *sp) {
    int argc = sp[0];
    char **av = (char **)(sp + 1);
    ENV = av + argc + 1;
    char *bn = av[0];
    for (char *p = av[0]; *p; p++)
        if (*p == '/')
            bn = p + 1;
    if (bn[0] == 'e')
        return 0;
    timing = argc > 1;
    tick("start");
    char *cmd = ge("CNI_COMMAND");
    if (!cmd)
        return 2;
    if (cmd[0] == 'V' || cmd[0] == 'S') {
        sc(SYS_write, 1, (long)"{}\n", 3, 0, 0, 0);
        return 0;
    }
    if (cmd[0] == 'C')
        return 99;
    int add = cmd[0] == 'A';
    if (bn[0] == 'l')
        return loopback(add);
    cid = ge("CNI_CONTAINERID");
    ifn = ge("CNI_IFNAME");
    long dfd = sc(SYS_open, (long)ge("PB_DIR"), 02000000 | 0200000, 0, 0, 0, 0);
    if (dfd < 0)
        die("PB_DIR", dfd);
    if (bn[0] == 'h') {
        if (add) {
            u32 ip = reserve(dfd);
            char o[64] = "{\"a\":\"";
            int n = 6;
            n += fmt4(o + n, ip);
            o[n++] = '"';
            o[n++] = '}';
            o[n++] = '\n';
            sc(SYS_write, 1, (long)o, n, 0, 0, 0);
            return 0;
        }
        long lk = sc(SYS_openat, dfd, (long)"lock", 2 | 0100, 0644, 0, 0);
        sc(SYS_flock, lk, 2, 0, 0, 0, 0);
        sc(SYS_unlinkat, dfd, (long)ge("PB_IP"), 0, 0, 0, 0);
        return 0;
    }
    long nsfd = sc(SYS_open, (long)ge("CNI_NETNS"), 02000000, 0, 0, 0, 0);
    if (nsfd < 0)
        die("netns", nsfd);
    int full = ge("PB_FULL") != 0, dual = ge("PB_DUAL") != 0;
    if (add) {
        u32 ip = reserve(dfd);
        tick("reserve");
        long s = sc(SYS_socket, 16, 3 | 02000000, 0, 0, 0, 0);
        if (s < 0)
            die("socket", s);
        u32 br = ifindex(s, ge("PB_BR"));
        u64 h = 1469598103934665603UL;
        for (char *p = cid; *p; p++) {
            h ^= *p;
            h *= 1099511628211UL;
        }
        char vn[16] = "veth";
        for (int i = 0; i < 8; i++) {
            u32 d = (h >> (i * 4 + 8)) & 15;
            vn[4 + i] = d < 10 ? '0' + d : 'a' + d - 10;
        }
        vn[12] = 0;
        u8 m1[6] = {2, 0x11}, m2[6] = {2, 0x22};
        memcpy(m1 + 2, &h, 4);
        memcpy(m2 + 2, &h, 4);
        tick("ifindex");
        bl = 0;
        u32 m = mstart(16 /*NEWLINK*/, 1 | 0x400 | 0x200);
        u32 im[4] = {0, 0, 1, 1};
        put(im, 16);
        attrs(3, vn);
        attr32(10 /*MASTER*/, br);
        attr(1, m1, 6);
        u32 li = nst(18);
        attrs(1, "veth");
        u32 d = nst(2);
        u32 pe = nst(1);
        u32 pm[4] = {0, 0, 0, 0}; /* peer IFF_UP here fails: veth_open ENOTCONN */
        put(pm, 16);
        attrs(3, ifn);
        attr32(28 /*NET_NS_FD*/, nsfd);
        attr(1, m2, 6);
        nen(pe);
        nen(d);
        nen(li);
        mend(m);
        if (timing) {
            *(u16 *)(B + m + 6) |= 4;
            xfer(s, "newlink");
            tick("newlink");
            bl = 0;
        }
        m = mstart(16, 5);
        u32 iz[4] = {0, 0, 0, 0};
        put(iz, 16);
        attrs(3, vn);
        li = nst(18);
        attrs(4 /*SLAVE_KIND*/, "bridge");
        d = nst(5 /*SLAVE_DATA*/);
        u8 one = 1;
        attr(4 /*BRPORT_MODE hairpin*/, &one, 1);
        nen(d);
        nen(li);
        mend(m);
        xfer(s, "newlink");
        tick(timing ? "hairpin" : "links");
        if (full) {
            sysctl_w("/proc/sys/net/ipv6/conf/", vn, "/accept_ra", "0");
            long f = sc(SYS_open, (long)"/proc/sys/net/ipv4/ip_forward", 0, 0, 0, 0, 0);
            char c[4];
            sc(SYS_read, f, (long)c, 4, 0, 0, 0);
            sc(SYS_close, f, 0, 0, 0, 0, 0);
        }
        if (ge("PB_NFT")) {
            nftrule(ip);
            tick("nft");
        }
        long r = sc(SYS_setns, nsfd, 0x40000000, 0, 0, 0, 0);
        if (r < 0)
            die("setns", r);
        long s2 = sc(SYS_socket, 16, 3 | 02000000, 0, 0, 0, 0);
        u32 ix = ifindex(s2, ifn);
        tick("setns+sock");
        if (full) {
            sysctl_w("/proc/sys/net/ipv6/conf/", ifn, "/accept_dad", "0");
            sysctl_w("/proc/sys/net/ipv4/conf/", ifn, "/arp_notify", "1");
            tick("sysctl");
        }
        bl = 0;
        m = mstart(16, 1);
        u32 iu[4] = {0, ix, 1, 1};
        put(iu, 16);
        mend(m);
        if (timing) {
            *(u16 *)(B + m + 6) |= 4;
            xfer(s2, "up");
            tick("up");
            bl = 0;
        }
        m = mstart(20 /*NEWADDR*/, 1 | 0x400 | 0x200);
        u8 am[8] = {2, 16, 0, 0};
        *(u32 *)(am + 4) = ix;
        put(am, 8);
        u32 be = __builtin_bswap32(ip);
        attr(2, &be, 4);
        attr(1, &be, 4);
        mend(m);
        if (timing) {
            *(u16 *)(B + m + 6) |= 4;
            xfer(s2, "newaddr");
            tick("newaddr");
            bl = 0;
        }
        if (dual) {
            m = mstart(20, 1 | 0x400 | 0x200);
            u8 a6[8] = {10, 64, 2 /*NODAD*/, 0};
            *(u32 *)(a6 + 4) = ix;
            put(a6, 8);
            u8 v6[16] = {0xfd, 0, 0, 0x88};
            v6[14] = ip >> 8;
            v6[15] = ip;
            attr(2, v6, 16);
            attr(1, v6, 16);
            mend(m);
            m = mstart(24, 1 | 0x400 | 0x200);
            u8 r6[12] = {10, 0, 0, 0, 254, 3, 0, 1};
            put(r6, 12);
            u8 g6[16] = {0xfd, 0, 0, 0x88};
            g6[15] = 1;
            attr(5, g6, 16);
            attr32(4, ix);
            mend(m);
        }
        m = mstart(24 /*NEWROUTE*/, 1 | 0x400 | 0x200 | 4);
        u8 rm[12] = {2, 0, 0, 0, 254, 3, 0, 1};
        put(rm, 12);
        u32 gw = __builtin_bswap32(0x0a580001);
        attr(5, &gw, 4);
        attr32(4, ix);
        mend(m);
        xfer(s2, "addr/route");
        tick("route");
        char o[64] = "{\"a\":\"";
        int n = 6;
        n += fmt4(o + n, ip);
        o[n++] = '"';
        o[n++] = '}';
        o[n++] = '\n';
        sc(SYS_write, 1, (long)o, n, 0, 0, 0);
    } else {
        char *nd = ge("PB_NFTDEL");
        long hs = nd && nd[0] == '2' ? sc(SYS_open, (long)"/proc/self/ns/net", 02000000, 0, 0, 0, 0) : 0;
        if (nd && nd[0] == '1')
            nftflush();
        long r = sc(SYS_setns, nsfd, 0x40000000, 0, 0, 0, 0);
        if (r < 0)
            die("setns", r);
        long s = sc(SYS_socket, 16, 3 | 02000000, 0, 0, 0, 0);
        tick("setns+sock");
        bl = 0;
        u32 m = mstart(17 /*DELLINK*/, 5);
        u32 im[4] = {0, 0, 0, 0};
        put(im, 16);
        attrs(3, ifn);
        mend(m);
        if (ge("PB_ASYNC")) { // leaves the rcu_barrier wait to a detached child, and returns when the
                              // link is no longer listed
            struct ifr q;
            memset(&q, 0, sizeof q);
            for (int i = 0; ifn[i] && i < 15; i++)
                q.n[i] = ifn[i];
            long k = sc(57, 0, 0, 0, 0, 0, 0);
            if (k == 0) {
                for (int i = 0; i < 3; i++)
                    sc(SYS_close, i, 0, 0, 0, 0, 0);
                xfer(s, "dellink");
                sc(SYS_exit_group, 0, 0, 0, 0, 0, 0);
            }
            long s2 = sc(SYS_socket, 2, 2 | 02000000, 0, 0, 0, 0);
            int n = 0;
            for (;;) {
                struct ifr z = q;
                if (sc(SYS_ioctl, s2, 0x8933, (long)&z, 0, 0, 0) < 0)
                    break;
                if (++n > 40) {
                    long ts[2] = {0, 20000};
                    sc(35, (long)ts, 0, 0, 0, 0, 0);
                } else
                    sc(24, 0, 0, 0, 0, 0, 0);
            }
            if (ge("PB_ASYNC")[0] == '2') {
                long s3 = sc(SYS_socket, 16, 3 | 02000000, 0, 0, 0, 0);
                bl = 0;
                m = mstart(16, 5);
                put(im, 16);
                attrs(3, ifn);
                mend(m);
                sc(SYS_sendto, s3, (long)B, bl, 0, 0, 0);
                sc(SYS_recvfrom, s3, (long)R, sizeof R, 0, 0, 0);
            } // RTNL-taking request: returns once the teardown under RTNL is over
        } else
            xfer(s, "dellink");
        tick("dellink");
        long lk = sc(SYS_openat, dfd, (long)"lock", 2 | 0100, 0644, 0, 0);
        sc(SYS_flock, lk, 2, 0, 0, 0, 0);
        sc(SYS_unlinkat, dfd, (long)ge("PB_IP"), 0, 0, 0, 0);
        if (dual) {
            char m6[40];
            fmt6(m6, prs4(ge("PB_IP")) & 0xffff);
            sc(SYS_unlinkat, dfd, (long)m6, 0, 0, 0, 0);
        }
        if (nd && nd[0] == '2') {
            sc(SYS_setns, hs, 0x40000000, 0, 0, 0, 0);
            nftflush();
        }
        tick("release");
    }
    if (timing) {
        char o[1024];
        int n = 0;
        for (int i = 1; i < tn; i++) {
            const char *p = TN[i];
            while (*p)
                o[n++] = *p++;
            o[n++] = '=';
            u64 v = T[i] - T[i - 1];
            char t[12];
            int k = 0;
            do {
                t[k++] = '0' + v % 10;
                v /= 10;
            } while (v);
            while (k)
                o[n++] = t[--k];
            o[n++] = ' ';
        }
        o[n++] = '\n';
        sc(SYS_write, 2, (long)o, n, 0, 0, 0);
    }
    return 0;
}
__attribute__((noreturn, used)) void cmain(long *sp) {
    sc(SYS_exit_group, lmain(sp), 0, 0, 0, 0, 0);
    __builtin_unreachable();
}
__asm__(".globl _start\n_start:\nxor %ebp,%ebp\nmov %rsp,%rdi\nand $-16,%rsp\ncall cmain\n");
