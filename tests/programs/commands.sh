# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# Sends all the different TPM commands that tpm2-tools can send, each with the
# objects that it needs. The test reads from the recording which of them
# succeed.
head -c 32 /dev/zero >digest
echo message >message
printf '12345678' >eight

# Hierarchies, objects and keys.
tpm2_createprimary -Q -C o -g sha256 -G ecc -c primary
tpm2_create -Q -C primary -G rsa2048 -u rsa.pub -r rsa.priv --creation-data c.data \
    --creation-hash c.hash --creation-ticket c.ticket
tpm2_load -Q -C primary -u rsa.pub -r rsa.priv -c rsa
tpm2_readpublic -Q -c rsa -o rsa.pem -f pem
tpm2_certifycreation -Q -C rsa -c rsa -d c.hash -t c.ticket -g sha256 -o certified --attestation attest
tpm2_rsaencrypt -c rsa -o cipher message
tpm2_rsadecrypt -c rsa -o plain cipher
tpm2_sign -Q -c rsa -g sha256 -o signature message
tpm2_verifysignature -Q -c rsa -g sha256 -m message -s signature
tpm2_certify -Q -c primary -C rsa -g sha256 -o attest -s certified
tpm2_changeauth -c rsa -C primary -r changed.priv new
tpm2_loadexternal -Q -C n -G rsa -u rsa.pem -c external
tpm2_create -Q -C primary -G aes128cfb -c aes
tpm2_encryptdecrypt -Q -c aes -o cipher message
tpm2_create -Q -C primary -G hmac -c hmac
tpm2_hmac -c hmac message >/dev/null
tpm2_create -Q -C primary -i message -c sealed
tpm2_unseal -Q -c sealed >/dev/null
tpm2_create -Q -C primary -G ecc256:ecdh -c ecdh
tpm2_ecdhkeygen -u point -o secret -c ecdh
tpm2_ecdhzgen -u point -o secret -c ecdh
tpm2_create -Q -C primary -G ecc256:ecdaa -c ecdaa
tpm2_commit -c ecdaa -t counter --eccpoint-K=k --eccpoint-L=l -u point
tpm2_ecephemeral -u q -t counter ecc256
tpm2_geteccparameters ecc256 -o parameters
tpm2_createek -Q -c ek -G ecc -u ek.pub
tpm2_createak -Q -C ek -c ak -G ecc -g sha256 -s ecdsa -n ak.name
tpm2_makecredential -Q -e ek.pub -s eight -n "$(od -An -tx1 ak.name | tr -d ' \n')" -o credential
tpm2_startauthsession --policy-session -S session
tpm2_policysecret -Q -S session -c e
tpm2_activatecredential -Q -c ak -C ek -i credential -o activated -P session:session
tpm2_flushcontext session
tpm2_flushcontext -t
tpm2_evictcontrol -Q -C o -c primary 0x81000010
tpm2_evictcontrol -Q -C o -c 0x81000010

# Policies, and what they allow.
tpm2_startauthsession -S session
tpm2_policyauthvalue -Q -S session -L policy
tpm2_policyrestart -S session
tpm2_policypassword -Q -S session -L policy
tpm2_policyrestart -S session
tpm2_policycommandcode -Q -S session -L policy TPM2_CC_Duplicate
tpm2_policyrestart -S session
tpm2_policypcr -Q -S session -l sha256:0
tpm2_policylocality -Q -S session zero
tpm2_policynvwritten -Q -S session c
tpm2_policyrestart -S session
tpm2_policynamehash -Q -S session -n digest
tpm2_policyrestart -S session
tpm2_policytemplate -Q -S session --template-hash digest
tpm2_policyrestart -S session
tpm2_policycountertimer -Q -S session --ult 99999999999
tpm2_policyor -Q -S session -L first -l sha256:policy,policy
tpm2_policyauthorize -Q -S session -i policy -n ak.name
tpm2_policyduplicationselect -Q -S session -N ak.name -n ak.name
tpm2_flushcontext session
tpm2_startauthsession -S session
tpm2_policycommandcode -Q -S session -L policy TPM2_CC_Duplicate
tpm2_flushcontext session
tpm2_create -Q -C primary -G ecc -L policy -c dup -a 'sensitivedataorigin|userwithauth|sign'
tpm2_create -Q -C primary -G rsa2048 -c target -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth'
tpm2_startauthsession --policy-session -S session
tpm2_policycommandcode -Q -S session TPM2_CC_Duplicate
tpm2_duplicate -Q -C target -c dup -G null -p session:session -r dup.priv -s dup.seed
tpm2_flushcontext session
tpm2_readpublic -Q -c dup -o dup.pub
tpm2_import -Q -C target -u dup.pub -i dup.priv -r imported -s dup.seed
tpm2_startauthsession --hmac-session --audit-session -S session
tpm2_getrandom -S session -o random 8
tpm2_sessionconfig session >/dev/null
tpm2_getsessionauditdigest -Q -c ak -g sha256 -m attest -s certified -S session
tpm2_flushcontext session
tpm2_startauthsession --hmac-session -c primary -S session
tpm2_sessionconfig --enable-encrypt --enable-decrypt session
tpm2_create -Q -C primary -P session:session -G ecc -u e.pub -r e.priv
tpm2_flushcontext session

# NV indices.
tpm2_nvdefine -Q 0x1500020 -C o -s 32
echo data | tpm2_nvwrite 0x1500020 -C o -i -
tpm2_nvread 0x1500020 -C o -s 5 >/dev/null
tpm2_nvreadpublic >/dev/null
tpm2_nvcertify -Q -C ak -g sha256 -o signature --attestation attest -c o --size 4 0x1500020
tpm2_nvdefine -Q 0x1500021 -C o -a 'ownerwrite|ownerread|nt=counter|writedefine|read_stclear'
tpm2_nvincrement -C o 0x1500021
tpm2_nvreadlock -C o 0x1500021
tpm2_nvwritelock -C o 0x1500021
tpm2_nvdefine -Q 0x1500022 -C o -a 'ownerwrite|ownerread|nt=bits'
tpm2_nvsetbits -C o -i 1 0x1500022
tpm2_nvdefine -Q 0x1500023 -C o -a 'ownerwrite|ownerread|nt=extend'
tpm2_nvextend -C o -i message 0x1500023
tpm2_startauthsession -S session
tpm2_policynv -Q -C o -i eight -S session 0x1500020 neq
tpm2_flushcontext session
tpm2_nvundefine -C o 0x1500020

# PCRs, hashes, clocks, capabilities.
digest=$(printf '%064d' 1)
tpm2_pcrread -Q sha256:0,1,2
tpm2_pcrextend 16:sha256=$digest
tpm2_pcrevent -Q 16 message
tpm2_pcrreset 16
tpm2_quote -Q -c ak -l sha256:0,16 -q 1234 -m attest -s certified
tpm2_gettime -Q -c ak -g sha256 -o certified --attestation attest
head -c 3000 /dev/zero >long
tpm2_hash -Q -C o -g sha256 -o digest -t ticket long
tpm2_hash -Q -C o -g sha256 message -o digest -t ticket
tpm2_hmac -c hmac long >/dev/null
tpm2_getrandom -o random 16
tpm2_stirrandom message
tpm2_readclock -Q
tpm2_getcap -Q commands
tpm2_getcap -Q properties-variable
tpm2_gettestresult >/dev/null
tpm2_selftest
tpm2_incrementalselftest sha256 >/dev/null
tpm2_testparms ecc256

# The platform's, the owner's and the lockout's.
tpm2_setprimarypolicy -C o
tpm2_dictionarylockout -s -n 5 -t 6 -l 7
tpm2_dictionarylockout -c
tpm2_clockrateadjust -Q -c p s
tpm2_setclock 99999999
tpm2_setcommandauditstatus -C o TPM2_CC_GetRandom
tpm2_getcommandauditdigest -Q -c ak -g sha256 -m attest -s certified
tpm2_pcrallocate -Q sha256:all+sha1:all
tpm2_hierarchycontrol -C p shEnable clear
tpm2_hierarchycontrol -C p shEnable set
tpm2_changeauth -c e new
tpm2_clearcontrol -C p s
tpm2_clearcontrol -C p c
tpm2_clear -c p
tpm2_changepps -p ''
tpm2_changeeps
tpm2_shutdown -c
tpm2_startup
