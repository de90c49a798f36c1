/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An exit, an execve(), a reaper, and two walkers of one mm: who may stall for
 * ever, and what must happen all the same.  One step is one atomic operation of
 * the kernel; what the memory order adds to that is in litmus/.
 *
 * users: mm_users.  structure: the references to mappings and page tables; it
 * starts at 1, which belongs to "users > 0".  A walker may stop for ever in the
 * middle of its walk, with everything it holds.
 *
 *	-DBASE		7.3.4: a walker holds mm_users
 *	-DTRYLOCK	patch 14 of the series for 6.12, on 7.x: walkers without
 *			mm_users, who hold the lock of a mapping and not mmap_lock;
 *			the exit goes on if it gets mmap_lock
 *	-DPLAIN_INC	a walker takes its reference without looking for zero
 *	-DSKIP_EARLY	MMF_OOM_SKIP before the pages are free, as 7.3.4 has it
 *	-DFLUSH_LATE	the exit drops its reference with pages in the gather
 *
 * Without any of them there must be no error, and with each of them one.
 */

byte users = 2;		/* a thread that exits, and one in execve() */
byte structure = 1;
byte vma_readers;
bool unmapped;		/* the pages are free */
bool skip_set;		/* MMF_OOM_SKIP */
bool freed;		/* the mappings and page tables are gone */
bool exited;		/* both threads have left: nobody waits for them */

byte mmap_readers;
bool mmap_writer;	/* mmap_lock */
bool gathered;		/* unmapped, but in the gather of the exit */

/* free_mappings(): takes the gather along, or has one of its own. */
inline free_structure(with_gather)
{
	atomic { mmap_readers == 0 && !mmap_writer -> mmap_writer = true };
	atomic {
		assert(!freed);
		assert(!gathered || with_gather);
		freed = true
	}
	if
	:: with_gather ->
		atomic {
			gathered = false;
			unmapped = true
		}
		skip_set = true
	:: else
	fi;
	mmap_writer = false
}

inline flush()
{
	atomic {
		gathered = false;
		unmapped = true
	}
	skip_set = true
}

inline put_structure()
{
	atomic {
		assert(structure > 0);
		structure--;
		last = structure == 0
	}
	if
	:: last -> free_structure(false)
	:: else
	fi
}

/* __mmput(), of the last user */
inline teardown()
{
	atomic { !mmap_writer -> mmap_readers++ };
	gathered = true;
	mmap_readers--;
#ifdef SKIP_EARLY
	skip_set = true;
#endif
#ifdef TRYLOCK
	/* mmap_write_trylock(): nobody has it, and vma_start_write() waits */
	(vma_readers == 0);
	free_structure(true)
#else
#ifdef BASE
	free_structure(true)
#else
	/* As a rule nobody walks. */
	atomic {
		last = structure == 1;
		if
		:: last -> structure = 0
		:: else
		fi
	}
	if
	:: last -> free_structure(true)
	:: else ->
#ifndef FLUSH_LATE
		flush();
#endif
		put_structure();
#ifdef FLUSH_LATE
		flush();
#endif
	fi
#endif
#endif
}

inline put_user()
{
	atomic {
		assert(users > 0);
		users--;
		last = users == 0
	}
	if
	:: last -> teardown()
	:: else
	fi
}

byte threads = 2;

/* One of them exits, the other one execs: both drop what they had. */
active [2] proctype thread()
{
	bool last;

	put_user();
	atomic {
		threads--;
		if
		:: threads == 0 -> exited = true;
			/* That is what the exit is for. */
			assert(unmapped)
		:: else
		fi
	}
}

active [2] proctype walker()
{
	bool last, got;

	atomic {
#ifdef BASE
		got = users > 0;
		if
		:: got -> users++
		:: else
		fi
#else
#ifdef TRYLOCK
		got = users > 0;
#else
#ifdef PLAIN_INC
		got = true;
		structure++
#else
		got = users > 0
#endif
#endif
#endif
	}
	if
	:: !got -> goto done
	:: else
	fi;
#ifndef BASE
#ifndef TRYLOCK
#ifndef PLAIN_INC
	/* mmget_walk(): not after the last user, unless that goes right here */
	atomic {
		got = structure > 0;
		if
		:: got -> structure++
		:: else
		fi
	}
	if
	:: !got -> goto done
	:: else
	fi;
#endif
#endif
#endif
#ifdef TRYLOCK
	/* lock_vma_under_rcu(): not in a mapping that is being written */
	atomic {
		if
		:: freed -> goto done
		:: else -> vma_readers++
		fi
	}
#endif
	assert(!freed);
	if
	:: true ->
end_stalled:	false
	:: true
	fi;
	assert(!freed);
#ifdef BASE
	put_user();
#else
#ifdef TRYLOCK
	vma_readers--;
#else
	put_structure();
#endif
#endif
done:	skip
}

/* process_mrelease(), the OOM reaper: it has mm_count, and takes mmap_lock. */
active proctype reaper()
{
	atomic { !mmap_writer -> mmap_readers++ };
	if
	:: skip_set ->
		/* It says "done". */
		assert(unmapped)
	:: else ->
		/* It walks the mappings. */
		assert(!freed)
	fi;
	mmap_readers--
}
