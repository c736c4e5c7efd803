//! The few system calls that no safe wrapper covers.

#![expect(unsafe_code, reason = "each block says why it is sound")]

use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `socket(2)` for families and protocols that nix has no names for.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers; a non-negative result is a descriptor that nobody else owns.
    let fd = Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `setsockopt(2)` with a plain value.
pub(crate) fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, name: i32, value: T) -> Result<(), Errno> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `value`, which outlives the call; the kernel only reads.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    Errno::result(result).map(drop)
}

/// `getsockopt(2)` into a buffer; returns how many bytes the kernel filled.
pub(crate) fn get_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the buffer's length.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, buffer.as_mut_ptr().cast(), &raw mut length) };
    Errno::result(result).map(|_| length as usize)
}

/// `bind(2)` with any address structure of the kernel's.
pub(crate) fn bind<T: Copy>(fd: BorrowedFd<'_>, address: &T) -> Result<(), Errno> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `address`; the kernel only reads.
    Errno::result(unsafe { libc::bind(fd.as_raw_fd(), (&raw const *address).cast(), length) }).map(drop)
}

/// `sendto(2)` with any address structure of the kernel's.
pub(crate) fn send_to<T: Copy>(fd: BorrowedFd<'_>, bytes: &[u8], address: &T) -> Result<(), Errno> {
    let length = size_of::<T>() as libc::socklen_t;
    loop {
        // SAFETY: both pointers and lengths are those of what was borrowed for the call; the kernel only reads.
        let sent = unsafe {
            let address = (&raw const *address).cast();
            libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, address, length)
        };
        match Errno::result(sent) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// What came with a received frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ancillary {
    /// `sll_ifindex`.
    pub(crate) ifindex: i32,
    /// `sll_pkttype`.
    pub(crate) pkt_type: u8,
    /// The tag that the kernel set aside: TPID and TCI (`struct tpacket_auxdata`).
    pub(crate) tag: Option<(u16, u16)>,
}

/// `recvmsg(2)` on a packet socket, without waiting. `None` if nothing is there.
pub(crate) fn receive_frame(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<Option<(usize, Ancillary)>, Errno> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut address = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut control = [0u64; 16];
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = address.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `message` is to a local that outlives the call, with its true length.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = match Errno::result(received) {
        Ok(length) => length as usize,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    // SAFETY: zeroed is a valid sockaddr_ll, whatever the kernel filled in.
    let address = unsafe { address.assume_init() };
    let tag = auxiliary_tag(&message);
    Ok(Some((length, Ancillary { ifindex: address.sll_ifindex, pkt_type: address.sll_pkttype, tag })))
}

fn auxiliary_tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: `message` was filled by recvmsg, so its control buffer holds whole control messages.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points to a control message within the buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: the kernel puts a whole tpacket_auxdata behind such a header; it may not be aligned.
            let data: libc::tpacket_auxdata =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            let valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            let has_tpid = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let tpid = if has_tpid { data.tp_vlan_tpid } else { 0x8100 };
            return valid.then_some((tpid, data.tp_vlan_tci));
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// `TUNSETIFINDEX`: the index that the next `TUNSETIFF` gives.
pub(crate) fn tun_set_ifindex(fd: BorrowedFd<'_>, index: u32) -> Result<(), Errno> {
    const TUNSETIFINDEX: libc::c_ulong = 0x4004_54da;
    // SAFETY: TUNSETIFINDEX reads an unsigned int, which this is.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFINDEX as _, &raw const index) }).map(drop)
}

/// `TUNSETIFF`: makes the descriptor of `/dev/net/tun` the other end of a tap.
pub(crate) fn tun_set_iff(fd: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::EINVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which this is.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF as _, &raw mut request) }).map(drop)
}

/// `BPF_PROG_QUERY` of one hook of a device: the ids of the programs there.
pub(crate) fn bpf_prog_query(ifindex: u32, attach_type: u32) -> Result<Vec<u32>, Errno> {
    const BPF_PROG_QUERY: libc::c_long = 16;
    #[repr(C, align(8))]
    struct Query {
        target: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        count: u32,
        rest: [u32; 9],
    }
    let mut ids = [0u32; 64];
    let mut query = Query {
        target: ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().addr() as u64,
        count: ids.len() as u32,
        rest: [0; 9],
    };
    // The kernel fills `ids` behind the compiler's back.
    let exposed = ids.as_mut_ptr().expose_provenance();
    query.prog_ids = exposed as u64;
    // SAFETY: the structure begins like the kernel's union bpf_attr and its length is passed; `prog_ids` points to
    // `count` words that live until the end of this function.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    Errno::result(result)?;
    Ok(ids.iter().take(query.count as usize).copied().collect())
}

/// `BPF_PROG_GET_NEXT_ID`: the lowest id of a loaded program above `id`; `ENOENT` if there is none.
pub(crate) fn bpf_prog_get_next_id(id: u32) -> Result<u32, Errno> {
    const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
    // start_id, next_id, open_flags
    let mut query = [id, 0, 0];
    let (pointer, length) = (query.as_mut_ptr(), size_of_val(&query));
    // SAFETY: `query` begins like the kernel's union bpf_attr, and its length is passed; the kernel writes `next_id`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_GET_NEXT_ID, pointer, length) };
    Errno::result(result)?;
    Ok(query[1])
}

/// `struct ebt_replace`: what the kernel tells of an ebtables table, and where it is to put the rest.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct EbtReplace {
    name: [u8; 32],
    /// A bit for each hook that the table has a chain for.
    pub(crate) valid_hooks: u32,
    /// How many rules the table has.
    pub(crate) nentries: u32,
    entries_size: u32,
    hook_entry: [usize; 6],
    num_counters: u32,
    counters: usize,
    entries: usize,
}

/// `EBT_SO_GET_INFO`: what there is in a table.
pub(crate) fn ebt_get_info(fd: BorrowedFd<'_>, table: &str) -> Result<EbtReplace, Errno> {
    const EBT_SO_GET_INFO: i32 = 128;
    let mut info = EbtReplace::default();
    for (to, from) in info.name.iter_mut().take(31).zip(table.bytes()) {
        *to = from;
    }
    let (fd, value) = (fd.as_raw_fd(), (&raw mut info).cast());
    let mut length = size_of::<EbtReplace>() as libc::socklen_t;
    // SAFETY: `value` points to `length` bytes of plain numbers, any of which the kernel may overwrite.
    let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_IP, EBT_SO_GET_INFO, value, &raw mut length) };
    Errno::result(result).map(|_| info)
}

/// `EBT_SO_GET_ENTRIES`: the chains and rules of a table that `info` tells of.
pub(crate) fn ebt_get_entries(fd: BorrowedFd<'_>, info: &EbtReplace) -> Result<Vec<u8>, Errno> {
    const EBT_SO_GET_ENTRIES: i32 = 129;
    let mut entries = vec![0u8; info.entries_size as usize];
    let mut request = EbtReplace { num_counters: 0, counters: 0, ..*info };
    request.entries = entries.as_mut_ptr().expose_provenance();
    // The kernel follows the pointer, and still wants the length that header and entries would have in one piece.
    let total = size_of::<EbtReplace>() + entries.len();
    let mut length = libc::socklen_t::try_from(total).map_err(|_| Errno::EOVERFLOW)?;
    let mut block = vec![0u64; total.div_ceil(size_of::<u64>())];
    let value: *mut EbtReplace = block.as_mut_ptr().cast();
    // SAFETY: the block is aligned for an EbtReplace and at least as large.
    unsafe { value.write(request) };
    let (fd, value) = (fd.as_raw_fd(), value.cast());
    // SAFETY: `value` points to `length` bytes; the header in them points to `entries_size` bytes of `entries`, which
    // the kernel fills (copy_everything_to_user) and which outlive the call.
    let result =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_IP, EBT_SO_GET_ENTRIES, value, &raw mut length) };
    Errno::result(result).map(|_| entries)
}
