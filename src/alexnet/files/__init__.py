"""The one place that touches storage. Files appear whole, JSON is checked, folders have an owner, names go anywhere.

``storage``: reading and writing, local or remote; ``outputs``: what is to be written, checked before the work;
``remote``: what lies on object storage; ``cache``, ``copies``, ``published``: what of it is here, and how what is made
here gets there; ``checked``: values held against their annotations; ``locks``: who works in a folder; ``text``: names
that are no UTF-8.
"""

from alexnet.files.checked import MANY_DIGITS as MANY_DIGITS
from alexnet.files.checked import SEAL as SEAL
from alexnet.files.checked import Count as Count
from alexnet.files.checked import Form as Form
from alexnet.files.checked import Length as Length
from alexnet.files.checked import Misfit as Misfit
from alexnet.files.checked import Sha as Sha
from alexnet.files.checked import Within as Within
from alexnet.files.checked import checked as checked
from alexnet.files.checked import nearest as nearest
from alexnet.files.checked import parse_json as parse_json
from alexnet.files.checked import seal as seal
from alexnet.files.checked import seal_holds as seal_holds
from alexnet.files.checked import to_json as to_json
from alexnet.files.copies import brought as brought
from alexnet.files.copies import drop_work as drop_work
from alexnet.files.copies import folder_bytes as folder_bytes
from alexnet.files.copies import here as here
from alexnet.files.copies import of_run as of_run
from alexnet.files.copies import read_copy as read_copy
from alexnet.files.copies import real_size as real_size
from alexnet.files.copies import sent as sent
from alexnet.files.copies import start_of as start_of
from alexnet.files.copies import work_place as work_place
from alexnet.files.hashes import sha256 as sha256
from alexnet.files.hashes import sha256_bytes as sha256_bytes
from alexnet.files.hashes import sha256_text as sha256_text
from alexnet.files.locks import LOCK as LOCK
from alexnet.files.locks import owned as owned
from alexnet.files.locks import owner_of as owner_of
from alexnet.files.outputs import check_new_folder as check_new_folder
from alexnet.files.outputs import check_output as check_output
from alexnet.files.places import cache_limit as cache_limit
from alexnet.files.places import folder_name as folder_name
from alexnet.files.places import named as named
from alexnet.files.published import owned_remotely as owned_remotely
from alexnet.files.published import published as published
from alexnet.files.remote import folders as folders
from alexnet.files.storage import PARTIAL as PARTIAL
from alexnet.files.storage import atomic as atomic
from alexnet.files.storage import atomic_folder as atomic_folder
from alexnet.files.storage import below as below
from alexnet.files.storage import check_folder as check_folder
from alexnet.files.storage import check_written as check_written
from alexnet.files.storage import exists as exists
from alexnet.files.storage import explained as explained
from alexnet.files.storage import flush as flush
from alexnet.files.storage import free_bytes as free_bytes
from alexnet.files.storage import is_folder as is_folder
from alexnet.files.storage import is_remote as is_remote
from alexnet.files.storage import join as join
from alexnet.files.storage import make_folder as make_folder
from alexnet.files.storage import map_file as map_file
from alexnet.files.storage import open_read as open_read
from alexnet.files.storage import partial_of as partial_of
from alexnet.files.storage import partials as partials
from alexnet.files.storage import read_bytes as read_bytes
from alexnet.files.storage import read_json as read_json
from alexnet.files.storage import remove_folder as remove_folder
from alexnet.files.storage import remove_leftovers as remove_leftovers
from alexnet.files.storage import size as size
from alexnet.files.storage import sizes as sizes
from alexnet.files.storage import through as through
from alexnet.files.storage import to_csv as to_csv
from alexnet.files.storage import write_bytes as write_bytes
from alexnet.files.storage import write_csv as write_csv
from alexnet.files.storage import write_json as write_json
from alexnet.files.text import NAMED_BYTES as NAMED_BYTES
from alexnet.files.text import code_point as code_point
from alexnet.files.text import json_shown as json_shown
from alexnet.files.text import kept as kept
from alexnet.files.text import plain as plain
from alexnet.files.text import real as real
from alexnet.files.text import shown as shown
from alexnet.files.urls import absolute as absolute
